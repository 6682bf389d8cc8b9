"""All limits on input from outside, as data with units."""

from __future__ import annotations

from typing import NamedTuple

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


class Limits(NamedTuple):
    """Bounds that stop hostile or damaged input before it does harm.

    Attributes:
        manifest_bytes: Largest manifest or index, bytes (registries commonly refuse more than 4 MiB).
        config_bytes: Largest image config, bytes.
        documents_bytes: Most bytes kept in memory for the documents of an image, or of an archive that is read as a
            stream.
        documents_fetched: Most bytes fetched for the documents of one image.
        layer_bytes: Largest uncompressed layer, bytes.
        inflate_ratio: Largest uncompressed/compressed ratio of a layer, and of all layers of an image together, once
            ``inflate_ratio_from`` bytes have been unpacked.
        inflate_ratio_from: Uncompressed bytes of a layer or image below which no ratio is checked.
        zstd_window_log: Largest zstd window, log2 of bytes (RFC 8878 asks decoders for at least 23).
        xz_memory_bytes: Most memory for unpacking an archive, or a layer in one, that is compressed with xz, bytes
            (``xz -9`` asks for 65 MiB).
        file_bytes: Largest logical size of one file, holes of sparse files included, bytes.
        layer_entries: Most tar entries in one layer.
        entries: Most tar entries in all layers of one image.
        layer_listing_bytes: Memory for the entries of an image's layers: 400 bytes for each, 300 more for a folder, 250
            for a link, 150 for a file with content, 500 for each extended attribute, 2.5 times its path and attributes,
            3.75 times its link target, and a quarter of the uncompressed bytes of the layers beyond 384 MiB; an image
            larger than 10 MB (compressed) may take 100 bytes more for each further byte.
        pax_bytes: Largest PAX extended header, bytes.
        pax_records: Most records in all PAX headers of a layer, in addition to eight for each entry.
        implied_folders: Most folders of an image's tree that have no entry in a layer and exist only as part of paths.
        path_steps: Most folders and parts of links that paths of an image's layers pass through, in addition to 20
            for each entry; a link counts as five more. Of a name with more than 40 parts, ``.`` and ``..`` count, too.
        block_bytes: Most bytes of the compressed blocks of the files in all layers of one image; an image larger than
            10 MB (compressed) may have 10 bytes more for each further byte.
        name_bytes: Longest path or link target in a tar entry, and longest path in a squashfs, bytes.
        sparse_regions: Most data regions in one sparse tar member; those of an image may have four times as many.
        xattr_bytes: Largest sum of names and values of one entry's or file's extended attributes, bytes.
        archive_members: Most members of a tar archive of images or of files of a store, extended headers included.
        archive_headers_bytes: Most bytes of all extended headers (PAX, GNU long names) of such an archive.
        index_depth: Deepest nesting of image indexes.
        yaml_bytes: Largest configuration or lock file, both as written and with all aliases expanded, bytes.
        yaml_nodes: Most keys, values, lists and mappings in such a file, with all aliases expanded.
        yaml_depth: Deepest nesting of lists and mappings in such a file.
        images: Most images that one images.yaml may declare, with ``tags`` and ``platforms`` expanded.
        signatures: Most signatures of a SIF file that are checked, including several in one envelope or clear-signed
            text.
        signature_bytes: Largest signature object of a SIF file, bytes (a signed object takes 220).
        layers: Most layers of one image; each needs an open file while it is built.
        answer_seconds: Longest wait for the first byte of a server's answer, for each attempt, seconds.
        head_seconds: Longest time from that byte to the end of the answer's head, interim answers (1xx) included,
            seconds.
        head_bytes: Largest head, and most bytes in a body besides its content.
        stall_seconds: Time over which the rate of a transfer is measured, seconds.
        slowest_rate: Rate below which a transfer is cancelled and resumed, bytes per second.
        image_entries: Most names in the squashfs of an image.
        image_listing_bytes: Memory for the names of a squashfs: 150 bytes, path and target for each, and 20 KiB for
            each folder on the current path; an image larger than 10 MB may take 64 bytes more for each further byte.
            A base of a definition may take three eighths of it.
        image_table_bytes: Inflated bytes of a squashfs's tables; larger images may take four times their size.
        image_bytes_ratio: Bytes read from all files in a squashfs, holes included, for each byte of its size, in
            addition to ``image_bytes_from``. Each block counts as at least 32 KiB, and twice if it is compressed;
            each extended attribute counts as at least 1 KiB.
        image_bytes_from: Bytes read from all files of any squashfs, however small it is.
        package_list_bytes: Bytes read from all package lists of an image for ``sifmake diff``, and memory for the
            names and versions in them.
        packages: Most packages in the lists of an image.
        definition_bytes: Largest definition file, as it is and after its variables are replaced, and file of build
            arguments, bytes.
        definition_stages: Most stages in a definition file.
        definition_sections: Most sections in one stage of a definition file.
        definition_steps: Most steps of one ``%post``; each becomes a layer.
        files_entries: Most files and folders that one ``%files`` section copies, and names that its patterns read
            (700 bytes of memory each).
        definition_labels: Most labels that one definition file, or one ``%post``, sets.
        recipe_bytes: Largest recipe of a SIF file in a registry, bytes (36 for each range of 80 KiB or more).
        remote_document_bytes: Largest manifest, signed statement or note on a step from a remote store of packs, bytes.
        remote_listing_bytes: Most bytes of the list of all packs in a remote store (about 100 for each).
        remote_seconds: Longest wait for a connection to such a store and for each of its answers, and the time over
            which the rate of its transfers is measured, seconds.
        remote_slowest_rate: Rate below which a transfer from it is given up, bytes per second.
    """

    manifest_bytes: int = 4 * MIB
    config_bytes: int = 8 * MIB
    documents_bytes: int = 64 * MIB
    documents_fetched: int = 1 * GIB
    layer_bytes: int = 256 * GIB
    inflate_ratio: int = 150
    inflate_ratio_from: int = 1 * GIB
    zstd_window_log: int = 27
    xz_memory_bytes: int = 80 * MIB
    file_bytes: int = 256 * GIB
    layer_entries: int = 1_000_000
    entries: int = 2_000_000
    layer_listing_bytes: int = 200 * MIB
    pax_bytes: int = 1 * MIB
    pax_records: int = 1_000_000
    implied_folders: int = 50_000
    path_steps: int = 5_000_000
    block_bytes: int = 24 * MIB
    name_bytes: int = 64 * KIB
    sparse_regions: int = 100_000
    xattr_bytes: int = 256 * KIB
    archive_members: int = 100_000
    archive_headers_bytes: int = 16 * MIB
    index_depth: int = 4
    yaml_bytes: int = 1 * MIB
    yaml_nodes: int = 100_000
    yaml_depth: int = 50
    images: int = 10_000
    signatures: int = 64
    signature_bytes: int = 1 * MIB
    layers: int = 500
    answer_seconds: int = 120
    head_seconds: int = 30
    head_bytes: int = 64 * KIB
    stall_seconds: int = 120
    slowest_rate: int = 1 * KIB
    image_entries: int = 5_000_000
    image_listing_bytes: int = 64 * MIB
    image_table_bytes: int = 256 * MIB
    image_bytes_ratio: int = 100
    image_bytes_from: int = 1 * GIB
    package_list_bytes: int = 32 * MIB
    packages: int = 100_000
    definition_bytes: int = 512 * KIB
    definition_stages: int = 100
    definition_sections: int = 1_000
    definition_steps: int = 200
    files_entries: int = 300_000
    definition_labels: int = 10_000
    recipe_bytes: int = 8 * MIB
    remote_document_bytes: int = 64 * KIB
    remote_listing_bytes: int = 64 * MIB
    remote_seconds: int = 8
    remote_slowest_rate: int = 64 * KIB


DEFAULT_LIMITS = Limits()
