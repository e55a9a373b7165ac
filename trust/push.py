"""Push: upload an image and sign what its tag means, so that neither is ever without the other.

The order is always blobs, image manifest by digest, state, tag. At every point a crash leaves the
old tag with the old trust, or new trust whose tag has not moved yet; never an unsigned tag. What can be
refused is refused before the first byte is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.errors import MissingError
from trust.oci.reference import check_new_tag
from trust.upload import begun_upload, known_manifest, upload_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from trust.oci.image import Image
    from trust.oci.manifest import Manifest
    from trust.oci.store import Store
    from trust.sign import Signed, TagSigner
    from trust.upload import Uploads

    Pushed = Callable[[Manifest], None]


def push(store: Store, tag: str, image: Image, signer: TagSigner, uploads: Uploads, *, on_pushed: Pushed) -> Signed:
    """Upload and sign an image, then move its tag; where signatures are missing, it is proposed and the tag stays.

    Args:
        store: scoped to the repository.
        tag: of the image.
        image: where the bytes come from.
        signer: signs the tag.
        uploads: how layers go up.
        on_pushed: told of the manifest once it is there by digest, before it is signed.

    Raises:
        UnsignedError, KeyUnavailableError: it cannot be signed; nothing was sent.
        ConflictError: another writer signed the tag at the same time, or others publish all the time.
    """
    check_new_tag(tag)
    with begun_upload(store, image, uploads) as upload:
        signer.check(tag, known_manifest(image, uploads))  # refusals come before the first request of the upload
        manifest = upload.finish()
    on_pushed(manifest)
    if not store.has_manifest(manifest.digest):  # a registry may collect what has no tag yet
        upload_image(store, image, uploads)
    signed = signer.sign(tag, manifest)
    if signed.state is None:
        return signed
    if signed.unchanged and store.resolve(tag) == manifest.digest:
        return signed
    try:
        signer.move_tag(tag, manifest, signed.state)
    except MissingError:  # collected between its upload and its tag
        upload_image(store, image, uploads)
        signer.move_tag(tag, manifest, signed.state)
    return signed


def push_unsigned(store: Store, tag: str, image: Image, uploads: Uploads, *, on_pushed: Pushed) -> Manifest:
    """Upload an image and move its tag, signing nothing and touching no trust data."""
    check_new_tag(tag)
    manifest = upload_image(store, image, uploads)
    on_pushed(manifest)
    store.put_manifest(manifest, tag)
    return manifest
