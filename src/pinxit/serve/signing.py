"""C2PA: a signed manifest in every finished picture that says how it was made, if a certificate is configured.

Needs the extra c2pa. A signature contains its time, so the files differ from those of `pinxit paint`; the pixels do
not.
"""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit import __version__
from pinxit.errors import PinxitError, UsageError, install
from pinxit.pictures import Format, encode_picture
from pinxit.serve.encoding import MEDIA_TYPES

if TYPE_CHECKING:
    from pinxit.serve.settings import Settings

SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"  # IPTC's vocabulary of digital source types
PAINTED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"


class Signer:
    """Signs picture files."""

    def __init__(self, certificate: bytes, key: bytes, algorithm: str) -> None:
        """PEM: the certificate chain and its private key. Raises PinxitError if they cannot sign."""
        try:
            import c2pa
        except ImportError as error:
            raise PinxitError(f"c2pa_certificate: c2pa is missing: {install('c2pa')}.") from error
        self.c2pa, self.lock = c2pa, threading.Lock()
        try:
            about = c2pa.C2paSignerInfo(algorithm.encode(), certificate, key, None)
            self.signer = c2pa.Signer.from_info(about)
            self.context = c2pa.Context(c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}))
            self.signed(encode_picture(np.zeros((16, 16, 3), np.uint8), {}), "png")
        except (c2pa.C2paError, ValueError) as error:  # whose message may contain parts of the key
            raise PinxitError(
                f"c2pa_certificate: certificate, key and {algorithm} do not fit together, or are none for C2PA."
            ) from error

    @classmethod
    def of(cls, settings: Settings) -> Signer | None:
        """The signer of the settings, or None if they name no certificate. Raises UsageError and PinxitError."""
        if bool(settings.c2pa_certificate) != bool(settings.c2pa_key):
            raise UsageError("c2pa_certificate and c2pa_key go together: name both files.")
        if not settings.c2pa_certificate:
            return None
        files = {}
        for name in ("c2pa_certificate", "c2pa_key"):
            try:
                files[name] = Path(getattr(settings, name)).read_bytes()
            except OSError as error:
                raise UsageError(
                    f"{name}: cannot read {getattr(settings, name)}: {error.strerror or error}."
                ) from error
        return cls(files["c2pa_certificate"], files["c2pa_key"], settings.c2pa_algorithm)

    def signed(self, data: bytes, form: Format, contains_upload: bool = False) -> bytes:
        """The file with its manifest; `contains_upload`: it was made from an uploaded picture."""
        builder, files = self.c2pa.Builder(_manifest(contains_upload), self.context), io.BytesIO()
        with self.lock:
            builder.sign(self.signer, MEDIA_TYPES[form], io.BytesIO(data), files)
        return files.getvalue()


def _manifest(contains_upload: bool) -> dict[str, Any]:
    agent = {"name": "pinxit", "version": __version__}
    source = SOURCES + (COMPOSITE if contains_upload else PAINTED)
    action = {"action": "c2pa.created", "digitalSourceType": source, "softwareAgent": agent}
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [action]}}
    return {"claim_generator_info": [agent], "assertions": [actions]}
