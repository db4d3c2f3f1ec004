"""Find the image that `make run` uploads: the one asked for, else CirrOS, else a small one built here."""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from scripts.progress import watched

CIRROS_NAME = "cirros-0.6.2"
CIRROS_URL = "https://download.cirros-cloud.net/0.6.2/cirros-0.6.2-x86_64-disk.img"
CIRROS_SHA512 = (
    "1103b92ce8ad966e41235a4de260deb791ff571670c0342666c8582fbb9caefe"
    "6af07ebb11d34f44f8414b609b29c1bdf1d72ffa6faa39c88e8721d09847952b"
)
CHUNK = 1 << 20
TIMEOUT = 15  # seconds without a byte after which a download server counts as out of reach
# disk_format -> where its mark stands in a file; what has none of these marks is raw.
MARKS = {
    "qcow2": (0, b"QFI\xfb"),
    "vmdk": (0, b"KDMV"),
    "vhdx": (0, b"vhdxfile"),
    "vdi": (64, b"\x7f\x10\xda\xbe"),
    "iso": (32769, b"CD001"),
}


@dataclass(frozen=True)
class LocalImage:
    """A file to upload, its name in the service, and a sentence on where it is from."""

    path: Path
    name: str
    origin: str

    @property
    def disk_format(self) -> str:
        return next((kind for kind, (at, mark) in MARKS.items() if self._has(at, mark)), "raw")

    @property
    def is_doubtful(self) -> bool:
        """Is it raw only because nothing else was seen in it, not even a boot record?"""
        return self.disk_format == "raw" and not self._has(510, b"\x55\xaa")

    def _has(self, at: int, mark: bytes) -> bool:
        with self.path.open("rb") as file:
            file.seek(at)
            return file.read(len(mark)) == mark

    def sha512(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha512").hexdigest()


def obtain(wanted: str, cache: Path) -> LocalImage:
    """The image at ``wanted`` (a path or URL), or the default where that is empty.

    Raises SystemExit with what to do.
    """
    cache.mkdir(parents=True, exist_ok=True)
    if not wanted:
        return _cirros(cache / f"{CIRROS_NAME}.qcow2") or _built(cache / "image-service-test.qcow2")
    if "://" in wanted:
        return _fetched(wanted, cache)
    path = Path(wanted).expanduser()
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise SystemExit(f"IMAGE={wanted}: there is no file that can be read. Give another IMAGE=path-or-URL.")
    if not path.stat().st_size:
        raise SystemExit(f"IMAGE={wanted}: the file is empty. Give another IMAGE=path-or-URL.")
    return LocalImage(path, path.stem, f"the file {path}")


def _fetched(url: str, cache: Path) -> LocalImage:
    """The image at ``url``, from the cache where it was fetched before."""
    path = cache / hashlib.sha256(url.encode()).hexdigest()
    try:
        if not path.exists():
            download(url, path)
        name = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2] or "image"
    except (OSError, ValueError) as error:
        raise SystemExit(f"{url} cannot be fetched: {error}. Give another IMAGE=path-or-URL.") from error
    return LocalImage(path, name, f"from {url} (remove var/cache/{path.name} to fetch it again)")


def download(url: str, target: Path) -> None:
    """Fetch ``url`` to ``target``, which appears only when it is whole. Raises OSError."""
    part = target.with_suffix(".part")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, part.open("wb") as file:  # noqa: S310 (the user's own URL)
            if answer.headers.get_content_type() == "text/html":
                raise OSError("what is there is a web page")
            size = int(answer.headers.get("Content-Length") or 0)
            for chunk in watched(iter(lambda: answer.read(CHUNK), b""), size, "Downloading"):
                file.write(chunk)
            if not file.tell() or (size and file.tell() != size):
                raise OSError(f"it ended after {file.tell()} of {size} bytes")
        part.rename(target)
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        raise OSError(getattr(error.reason, "strerror", None) or error.reason) from error
    except (ValueError, http.client.HTTPException) as error:  # no URL, or no HTTP
        raise OSError(f"{type(error).__name__}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def chunks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _cirros(path: Path) -> LocalImage | None:
    """CirrOS from its official place or the cache; None where that place is out of reach."""
    image = LocalImage(path, CIRROS_NAME, f"CirrOS, from {CIRROS_URL}")
    built = path.with_name("image-service-test.qcow2")
    if not path.exists():
        if built.exists():
            return None
        try:
            download(CIRROS_URL, path)
        except OSError as error:
            print(f"CirrOS is out of reach ({error}).")
            return None
    if image.sha512() != CIRROS_SHA512:
        path.unlink()
        raise SystemExit(f"{CIRROS_URL} has a wrong SHA-512. Try again, or give IMAGE=path-or-URL.")
    return image


def _built(path: Path) -> LocalImage:
    if not path.exists():
        print("Building a small bootable image from Debian packages instead.")
        script = Path(__file__).with_name("bootable-image.sh")
        if subprocess.run([script, path], check=False).returncode:
            raise SystemExit("The image could not be built (see above). Give one: make run IMAGE=path-or-URL")
    origin = "a stand-in for CirrOS, built here from Debian packages"
    return LocalImage(path, path.stem, f"{origin} (remove var/cache/{path.name} to try CirrOS again)")
