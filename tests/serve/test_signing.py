"""Signed provenance, by a certificate made for the test."""

from __future__ import annotations

import base64
import datetime
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pinxit.errors import PinxitError, UsageError
from pinxit.serve.settings import Settings
from pinxit.serve.signing import Signer
from tests.serve.running import running
from tests.serve.test_jobs import ended

pytest.importorskip("c2pa")
pytest.importorskip("cryptography")
import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


def certificate(folder: Path) -> dict[str, Any]:
    """A chain of two, and its key, as settings."""
    above, key = (ec.generate_private_key(ec.SECP256R1()) for _ in "ab")
    chain = _signed("somebody who paints", key, above, False) + _signed("who vouches", above, above, True)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    return {"c2pa_certificate": str(folder / "chain.pem"), "c2pa_key": str(folder / "key.pem")}


def _signed(name: str, key: Any, by: Any, vouches: bool) -> bytes:
    def called(text: str) -> x509.Name:
        return x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "tests"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
        )

    uses = {"key_cert_sign", "crl_sign"} if vouches else {"digital_signature"}
    now = datetime.datetime.now(datetime.UTC)
    found = (
        x509.CertificateBuilder(called("who vouches"), called(name), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(x509.BasicConstraints(vouches, None), True)
        .add_extension(x509.KeyUsage(**{use: use in uses for use in USES}), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
    )
    if not vouches:
        found = found.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return found.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def told(data: bytes, form: str) -> tuple[str, str, list[str]]:
    """Where it says that it comes from, by what, and what is wrong about it besides that nobody knows who vouches."""
    found = json.loads(c2pa.Reader(f"image/{form}", io.BytesIO(data)).json())
    about = found["manifests"][found["active_manifest"]]
    (actions,) = (one["data"]["actions"] for one in about["assertions"] if one["label"].startswith("c2pa.actions"))
    wrong = [one["code"] for one in found.get("validation_status", ()) if one["code"] != "signingCredential.untrusted"]
    return actions[0]["digitalSourceType"].rsplit("/", 1)[1], about["claim_generator_info"][0]["name"], wrong


def test_every_finished_picture_is_signed_and_no_pixel_changes(tmp_path: Path) -> None:
    plain: dict[str, Any] = {}
    asked = {"prompt": "a red square", "seed": 3, "candidates": 1}
    for signed, settings in ((False, {}), (True, certificate(tmp_path))):
        with running(tmp_path / str(signed), **settings) as server:
            for form in ("png", "jpeg", "webp"):
                answer = server.post("/v1/images/generations", json=asked | {"output_format": form})
                data = base64.b64decode(answer.json()["data"][0]["b64_json"])
                if signed:
                    assert told(data, form) == ("trainedAlgorithmicMedia", "pinxit", [])
                    assert (np.asarray(Image.open(io.BytesIO(data))) == plain[form]).all()
                    flipped = bytearray(data)
                    flipped[data.index(b"IDAT") + 9 if form == "png" else len(data) // 3] ^= 1
                    if form == "png":
                        assert told(bytes(flipped), form)[2] == ["assertion.dataHash.mismatch"]
                else:
                    plain[form] = np.asarray(Image.open(io.BytesIO(data)))
                    with pytest.raises(c2pa.C2paError):
                        told(data, form)
            (job,) = server.post("/api/jobs", json=asked).json()["jobs"]
            file = server.get("/" + ended(server, job["id"])["pictures"][0]["url"]).content
            assert (b"c2pa" in file) == signed


def test_what_began_with_a_picture_of_others_says_so(tmp_path: Path) -> None:
    signer = Signer.of(Settings(**certificate(tmp_path)))
    assert signer is not None
    plain = io.BytesIO()
    Image.new("RGB", (16, 16)).save(plain, "png")
    assert told(signer.signed(plain.getvalue(), "png", True), "png")[0] == "compositeWithTrainedAlgorithmicMedia"


def test_a_certificate_that_does_not_fit_is_said_at_the_start(tmp_path: Path) -> None:
    assert Signer.of(Settings()) is None
    about = certificate(tmp_path)
    with pytest.raises(UsageError, match="go together"):
        Signer.of(Settings(c2pa_certificate=about["c2pa_certificate"]))
    with pytest.raises(UsageError, match="cannot read"):
        Signer.of(Settings(**about | {"c2pa_key": str(tmp_path / "none")}))
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other")
    for wrong in (
        {"c2pa_key": about["c2pa_certificate"]},
        {"c2pa_algorithm": "ps256"},
        {"c2pa_key": other["c2pa_key"]},
    ):
        with pytest.raises(PinxitError, match="do not fit together") as error:
            Signer.of(Settings(**about | wrong))
        assert "BEGIN" not in str(error.value)
