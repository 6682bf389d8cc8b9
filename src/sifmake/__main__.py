"""``python -m sifmake`` is the ``sifmake`` command."""

from sifmake.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
