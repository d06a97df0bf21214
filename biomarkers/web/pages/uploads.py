"""Dropping a file through the browser: into the same inbox, through a hidden name and a rename, as a careful instrument would.

Knows names and bytes. Must not know what a file means; from the inbox on it is one like any other.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from biomarkers.errors import SourceFileError
from biomarkers.lab.drafts import RECEIVING, own_name
from biomarkers.lab.folders import INBOXES, LabFolder
from biomarkers.lab.inbox import TEMPORARY_BEGINNINGS, TEMPORARY_ENDINGS, stem
from biomarkers.lab.pressure import require_room
from biomarkers.laboratory.door import refused_name
from biomarkers.provenance import utc_now
from biomarkers.readers.annotations import read_annotations
from biomarkers.readers.sign_offs import sign_off_text
from biomarkers.readers.slide_tiles import TilePyramid
from biomarkers.store import audit
from biomarkers.web import behind
from biomarkers.web.access import Right, Visitor
from biomarkers.web.identity import Needs, require_header_csrf
from biomarkers.web.refusals import RequestRefusedError
from biomarkers.web.site import Site, site_of

router = APIRouter()
PORTION = 1 << 20
GREATEST_NAME = 200
LARGEST_REGIONS = 24_000_000
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')


@router.put("/inbox/{kind}", include_in_schema=False)
@router.put("/api/v1/inbox/{kind}", tags=["files"], status_code=201)
async def upload(
    request: Request,
    kind: str,
    name: str,
    visitor: Annotated[Visitor, Depends(Needs(Right.UPLOAD))],
    _own: Annotated[None, Depends(require_header_csrf)],
    instrument: str = "",
) -> Response:
    """Put the body's bytes into an inbox under a name; a file of that name that lies there is never replaced."""
    site = site_of(request)
    place = inbox_place(site, kind, instrument)
    name = file_name(name)
    refused = refused_name(site.laboratory, name)
    if refused is not None:  # told without the name, and nothing of it is written down
        raise RequestRefusedError(status=422, what=refused.what, where=refused.where, remedy=refused.remedy)
    length = int(request.headers.get("content-length", "0") or 0)
    await run_in_threadpool(require_room, place, for_bytes=length)
    draft = place / f"{RECEIVING}{own_name()}"
    digest = hashlib.sha256()
    try:
        with draft.open("xb") as target:
            size = await _received(request, target, digest)
        if length and size != length:
            raise RequestRefusedError(status=400, what="The file arrived in part only.", remedy="Drop it again.")
        if size == 0:
            raise RequestRefusedError(status=400, what="The file is empty.", where=f"File '{name}'.", remedy="Export it again.")
        await run_in_threadpool(_settle, draft, place / name)
    except ClientDisconnect as error:
        raise RequestRefusedError(status=400, what="The connection broke off.", remedy="Drop the file again.") from error
    finally:
        draft.unlink(missing_ok=True)
    await run_in_threadpool(_note, site, visitor, kind, name, size, digest.hexdigest())
    return JSONResponse({"name": name, "assay": kind, "size": size, "sha256": digest.hexdigest()}, 201)


@router.put("/inbox/ihc/regions/{run_id}", include_in_schema=False)
async def upload_regions(
    request: Request,
    run_id: str,
    visitor: Annotated[Visitor, Depends(Needs(Right.ANSWER))],
    _own: Annotated[None, Depends(require_header_csrf)],
    reason: str = "",
) -> Response:
    """Put redrawn regions of a recorded slide into its inbox, signed by a sidecar in the visitor's name."""
    site = site_of(request)
    said = reason.strip()[:1000]
    if not said:
        raise RequestRefusedError(
            status=400, what="Redrawn regions need a reason.", remedy="Say what was drawn otherwise, and why."
        )
    found = await run_in_threadpool(behind.run_behind, site.laboratory, run_id)
    if found.slide is None:
        raise RequestRefusedError(status=404, what="There is no such slide.", remedy="Open it from the list of runs.")
    pyramid = await run_in_threadpool(site.slides.pyramid, run_id)
    place, name = site.laboratory.folder.inbox("ihc"), stem(found.entry.name)
    draft = place / f"{RECEIVING}{own_name()}"
    digest = hashlib.sha256()
    try:
        with draft.open("xb") as target:
            size = await _received(request, target, digest, most=LARGEST_REGIONS)
        with draft.open("rb") as raw:
            ending = ".geojson.gz" if raw.read(2) == b"\x1f\x8b" else ".geojson"
        await run_in_threadpool(_require_regions, draft, pyramid, name=f"{name}{ending}")
        word = sign_off_text(by=f"{visitor.full_name} ({visitor.name})", reason=said, replaces=False)
        await run_in_threadpool(_settle_signed, draft, place / f"{name}{ending}", word)
    except ClientDisconnect as error:
        raise RequestRefusedError(status=400, what="The connection broke off.", remedy="Drop the file again.") from error
    finally:
        draft.unlink(missing_ok=True)
    await run_in_threadpool(_note, site, visitor, "ihc", f"{name}{ending}", size, digest.hexdigest())
    return JSONResponse({"name": f"{name}{ending}", "assay": "ihc", "size": size, "sha256": digest.hexdigest()}, 201)


def _require_regions(draft: Path, pyramid: TilePyramid, *, name: str) -> None:
    """Tell what cannot be read at once, to the person who drew it."""
    try:
        read_annotations(draft, width=pyramid.width, height=pyramid.height)
    except SourceFileError as error:
        told = " ".join(dict.fromkeys(f"{fault.where} {fault.what}" for fault in error.faults[:3]))
        raise RequestRefusedError(
            status=400, what=told.replace(draft.name, name), remedy=error.faults[0].remedy or "Export the regions again."
        ) from error


def _settle_signed(draft: Path, target: Path, word: str) -> None:
    """Put a sidecar and the file it signs into the inbox, the sidecar first: alone it waits, where the file alone might not."""
    sidecar = target.with_name(f"{stem(target.name)}.toml")
    signing = draft.with_name(f"{draft.name}-signing")
    signing.write_text(word, encoding="utf-8")
    try:
        _settle(signing, sidecar)
        try:
            _settle(draft, target)
        except BaseException:
            sidecar.unlink(missing_ok=True)
            raise
    finally:
        signing.unlink(missing_ok=True)


async def _received(request: Request, target: BinaryIO, digest: hashlib._Hash, *, most: int | None = None) -> int:
    size, held = 0, bytearray()
    async for part in request.stream():
        held += part
        size += len(part)
        if most is not None and size > most:
            raise RequestRefusedError(status=413, what=f"The file has more than {most // 1_000_000} MB.", remedy="Export less.")
        if len(held) >= PORTION:
            digest.update(held)
            await run_in_threadpool(target.write, bytes(held))
            held.clear()
    digest.update(held)
    await run_in_threadpool(target.write, bytes(held))
    await run_in_threadpool(target.flush)
    await run_in_threadpool(os.fsync, target.fileno())
    return size


def _settle(draft: Path, target: Path) -> None:
    """Give the draft its name in one step; link refuses where rename would replace."""
    try:
        os.link(draft, target)
    except FileExistsError as error:
        raise RequestRefusedError(
            status=409,
            what="A file of this name lies in the inbox already.",
            where=f"File '{target.name}'.",
            remedy="Wait until it is taken, or give the file another name.",
        ) from error
    except OSError:  # a file system without hard links
        with target.open("xb"):
            draft.replace(target)


def _note(site: Site, visitor: Visitor, kind: str, name: str, size: int, sha256: str) -> None:  # noqa: PLR0917  - one caller
    with site.laboratory.database.write() as transaction:
        audit.append(
            transaction,
            at=utc_now(),
            actor=visitor.name,
            action="file.uploaded",
            entity=f"{kind}/{name}",
            detail={"size": size, "sha256": sha256, "by": visitor.by},
        )


def inbox_place(site: Site, kind: str, instrument: str) -> Path:
    """Return the inbox, or an instrument's subfolder that lab.toml lists."""
    folder: LabFolder = site.laboratory.folder
    if kind not in INBOXES:
        raise RequestRefusedError(status=404, what="There is no such inbox.", remedy=f"Use one of {', '.join(INBOXES)}.")
    if not instrument:
        return folder.inbox(kind)
    known = {one.folder for one in site.laboratory.settings.instruments if one.kind == kind}
    if instrument not in known:
        raise RequestRefusedError(
            status=404, what="There is no such instrument.", remedy="lab.toml lists them under [[instruments]]."
        )
    place = folder.inbox(kind) / instrument
    place.mkdir(exist_ok=True)
    return place


def file_name(name: str) -> str:
    """Return a dropped file's name, refused where it could be a path or would never be taken.

    Raises
    ------
    RequestRefusedError
        It cannot be a file's name in an inbox.
    """
    told = unicodedata.normalize("NFC", name)
    is_bad = (
        not told.strip(" .")
        or len(told.encode(errors="replace")) > GREATEST_NAME
        or _NOT_IN_NAMES.search(told) is not None
        or not told.isprintable()
        or told != told.strip()
        or told.startswith(TEMPORARY_BEGINNINGS)
        or told.lower().endswith((*TEMPORARY_ENDINGS, ".reason.txt"))
    )
    if is_bad:
        raise RequestRefusedError(
            status=400,
            what="The file's name cannot be used.",
            where=f"Name '{told[:80]}'.",
            remedy="Give it a plain name: no path, no hidden or temporary file.",
        )
    return told
