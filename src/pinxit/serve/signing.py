"""Who painted it, signed: a C2PA manifest in every finished picture, where a certificate is configured.

Needs the extra: pip install "pinxit[c2pa]". A signature holds its moment, so that files differ from `pinxit paint`'s in
it; the pixels do not.
"""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit import __version__
from pinxit.errors import PinxitError, UsageError
from pinxit.serve.encoding import TYPES, Format, encoded

if TYPE_CHECKING:
    from pinxit.serve.settings import Settings

SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"  # IPTC's words for where a picture comes from
PAINTED, OF_OTHERS = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"


class Signer:
    """Signs files. `Signer.of` says whether there is one."""

    def __init__(self, certificate: bytes, key: bytes, algorithm: str) -> None:
        """PEM: the certificate with those that vouch for it, and its private key. Raises PinxitError."""
        try:
            import c2pa
        except ImportError as error:
            raise PinxitError('c2pa_certificate: c2pa is missing: pip install "pinxit[c2pa]".') from error
        self.c2pa, self.turn = c2pa, threading.Lock()
        try:
            about = c2pa.C2paSignerInfo(algorithm.encode(), certificate, key, None)
            self.signer = c2pa.Signer.from_info(about)
            self.context = c2pa.Context(c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}))
            self.signed(encoded(np.zeros((16, 16, 3), np.uint8), {}), "png")
        except (c2pa.C2paError, ValueError) as error:  # which may hold parts of the key
            raise PinxitError(
                f"c2pa_certificate: certificate, key and {algorithm} do not fit together, or are none for C2PA."
            ) from error

    @classmethod
    def of(cls, settings: Settings) -> Signer | None:
        """That of the settings; None where they name no certificate. Raises UsageError and PinxitError."""
        if bool(settings.c2pa_certificate) != bool(settings.c2pa_key):
            raise UsageError("c2pa_certificate and c2pa_key go together: name both files.")
        if not settings.c2pa_certificate:
            return None
        found = {}
        for name in ("c2pa_certificate", "c2pa_key"):
            try:
                found[name] = Path(getattr(settings, name)).read_bytes()
            except OSError as error:
                raise UsageError(
                    f"{name}: cannot read {getattr(settings, name)}: {error.strerror or error}."
                ) from error
        return cls(found["c2pa_certificate"], found["c2pa_key"], settings.c2pa_algorithm)

    def signed(self, data: bytes, form: Format, of_others: bool = False) -> bytes:
        """The file with its manifest; `of_others`: something that was sent is in it."""
        builder, found = self.c2pa.Builder(_manifest(of_others), self.context), io.BytesIO()
        with self.turn:
            builder.sign(self.signer, TYPES[form], io.BytesIO(data), found)
        return found.getvalue()


def _manifest(of_others: bool) -> dict[str, Any]:
    agent = {"name": "pinxit", "version": __version__}
    source = SOURCES + (OF_OTHERS if of_others else PAINTED)
    action = {"action": "c2pa.created", "digitalSourceType": source, "softwareAgent": agent}
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [action]}}
    return {"claim_generator_info": [agent], "assertions": [actions]}
