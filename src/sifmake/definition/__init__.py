"""Read definition files and apply their sections to an image. Nothing here runs programs or uses the network."""

from sifmake.definition.argument_file import read_build_arguments
from sifmake.definition.model import App, Base, BuildStage, CopyLine, Definition, Files, Section
from sifmake.definition.reader import load_definition, read_definition

__all__ = [
    "App",
    "Base",
    "BuildStage",
    "CopyLine",
    "Definition",
    "Files",
    "Section",
    "load_definition",
    "read_build_arguments",
    "read_definition",
]
