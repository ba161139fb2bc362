"""Certificates, made with the openssl program since Python's library cannot make any."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from devcluster import commands

OPENSSL_ADVICE = "install it (apt-get install openssl)"
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
_RSA = ("-newkey", "rsa:2048")


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: Path
    key: Path

    @property
    def exists(self) -> bool:
        return self.certificate.exists() and self.key.exists()


def pair(folder: Path, name: str) -> Pair:
    return Pair(folder / f"{name}.crt", folder / f"{name}.key")


def authority(folder: Path, name: str, *, names: str = "", rsa: bool = False) -> Pair:
    """A self-signed authority, made once. `names` are subject alternative names it carries;
    `rsa` gives it an RSA key in the PKCS#1 form."""
    extensions = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
    return _make(folder, name, f"/CN={name}", (*extensions, *_alternative(names)), rsa=rsa)


def issue(
    folder: Path, signer: Pair, name: str, *, user: str, group: str = "", names: str = ""
) -> Pair:
    """A certificate made once: to Kubernetes, `user` and `group` are who presents it; a server's
    `names` are like `DNS:localhost,IP:127.0.0.1`."""
    subject = (f"/O={group}" if group else "") + f"/CN={user}"
    extensions = (
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=serverAuth,clientAuth",
        *_alternative(names),
    )
    signing = ("-CA", str(signer.certificate), "-CAkey", str(signer.key))
    return _make(folder, name, subject, extensions, signing)


def _alternative(names: str) -> tuple[str, ...]:
    return (f"subjectAltName={names}",) if names else ()


def _make(
    folder: Path,
    name: str,
    subject: str,
    extensions: tuple[str, ...],
    signing: tuple[str, ...] = (),
    *,
    rsa: bool = False,
) -> Pair:
    made = pair(folder, name)
    if made.exists:
        return made
    openssl = commands.program("openssl", OPENSSL_ADVICE)
    added = [word for extension in extensions for word in ("-addext", extension)]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        new = pair(Path(temporary), name)
        # A configuration of our own: the machine's adds extensions that clash with these.
        config = Path(temporary) / "openssl.cnf"
        config.write_text("[req]\ndistinguished_name=dn\n[dn]\n")
        output = ("-keyout", new.key, "-out", new.certificate)
        flags = ("-x509", "-config", config, "-noenc", "-days", "3650", "-subj", subject)
        commands.run([openssl, "req", *flags, *(_RSA if rsa else _EC), *added, *signing, *output])
        if rsa:
            commands.run([openssl, "rsa", "-traditional", "-in", new.key, "-out", new.key])
        new.key.chmod(0o600)
        new.key.rename(made.key)
        new.certificate.rename(made.certificate)
    return made
