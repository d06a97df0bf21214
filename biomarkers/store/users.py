"""Accounts, sessions and tokens of the people and scripts that use the pages.

Knows that an account's newest entry counts, that only digests of secrets are kept, and that every change is in the audit trail.
Must not know how a password is hashed, nor what a role may do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Row, exists, func, insert, select

from biomarkers.errors import StoreError
from biomarkers.store import audit
from biomarkers.store.database import Reading, Transaction
from biomarkers.store.schema.people import account, credential, credential_end

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class Role(StrEnum):
    """What a person is to the laboratory."""

    TECHNICIAN = "technician"
    REVIEWER = "reviewer"
    SCIENTIST = "scientist"
    UNBLINDED_SCIENTIST = "unblinded_scientist"
    AUDITOR = "auditor"
    OPERATOR = "operator"


class CredentialKind(StrEnum):
    """A person's session in a browser, or a script's token."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105  - a kind, no secret


class Scope(StrEnum):
    """How much of its owner's rights a credential has: all, those to see, or those to drop files and see their fate."""

    ALL = "all"
    READ = "read"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A person as known now; the printed form shows no hash."""

    name: str
    full_name: str
    role: Role
    password_hash: str
    active: bool
    recorded_at: datetime

    def __repr__(self) -> str:
        return f"Account({self.name!r}, {self.role.value}, {'active' if self.active else 'closed'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A session or token that lets somebody in until it ends; its secret is kept by whoever holds it."""

    token_digest: str
    kind: CredentialKind
    name: str
    label: str
    scope: Scope
    began_at: datetime
    ends_at: datetime


def save_account(
    transaction: Transaction,
    *,
    name: str,
    full_name: str,
    role: Role,
    password_hash: str,
    active: bool,
    recorded_at: datetime,
    recorded_by: str,
    reason: str,
) -> Account:
    """Make an account, or change one; what stood before stays on record.

    Raises
    ------
    StoreError
        The name cannot be one.
    """
    if NAME_PATTERN.fullmatch(name) is None:
        raise StoreError(
            what=f"'{name}' cannot be a login.",
            where="User's name.",
            remedy="Use up to 64 small letters, digits and . _ @ -, beginning with a letter or digit.",
        )
    transaction.serialise()
    before = find_account(transaction, name=name)
    transaction.connection.execute(
        insert(account).values(
            name=name,
            full_name=full_name,
            role=role.value,
            password_hash=password_hash,
            active=int(active),
            recorded_at=recorded_at,
            recorded_by=recorded_by,
            reason=reason,
        )
    )
    audit.append(
        transaction,
        at=recorded_at,
        actor=recorded_by,
        action="user.added" if before is None else "user.changed",
        entity=name,
        detail={
            "before": None if before is None else {"role": before.role.value, "active": before.active},
            "after": {"role": role.value, "active": active},
            "password_changed": before is None or before.password_hash != password_hash,
        },
        reason=reason,
    )
    return Account(
        name=name, full_name=full_name, role=role, password_hash=password_hash, active=active, recorded_at=recorded_at
    )


def find_account(reading: Reading, *, name: str) -> Account | None:
    """Return an account as it stands, closed ones too; None where there never was one."""
    query = select(account).where(account.c.name == name).order_by(account.c.id.desc()).limit(1)
    row = reading.connection.execute(query).first()
    return None if row is None else _account(row)


def all_accounts(reading: Reading) -> tuple[Account, ...]:
    """Return every account as it stands, by name."""
    last = select(func.max(account.c.id)).group_by(account.c.name)
    query = select(account).where(account.c.id.in_(last)).order_by(account.c.name)
    return tuple(_account(row) for row in reading.connection.execute(query))


def has_accounts(reading: Reading) -> bool:
    """Whether any account was ever made: from then on nobody comes in without one."""
    return reading.connection.execute(select(account.c.id).limit(1)).first() is not None


def begin_credential(
    transaction: Transaction,
    *,
    token_digest: str,
    kind: CredentialKind,
    name: str,
    label: str,
    began_at: datetime,
    ends_at: datetime,
    scope: Scope = Scope.ALL,
) -> None:
    """Let somebody in by a secret of this digest until it ends, with all of their rights or some."""
    transaction.connection.execute(
        insert(credential).values(
            token_digest=token_digest,
            kind=kind.value,
            name=name,
            label=label,
            scope=scope.value,
            began_at=began_at,
            ends_at=ends_at,
        )
    )
    audit.append(
        transaction,
        at=began_at,
        actor=name,
        action=f"{kind.value}.began",
        entity=name,
        detail={"label": label, "credential": token_digest[:12], "ends_at": ends_at.isoformat(), "scope": scope.value},
    )


def end_credential(transaction: Transaction, *, token_digest: str, ended_at: datetime, ended_by: str, reason: str) -> None:
    """Let nobody in by this secret from now on; a second call changes nothing."""
    transaction.serialise()
    ended = exists().where(credential_end.c.token_digest == credential.c.token_digest)
    row = transaction.connection.execute(select(credential).where(credential.c.token_digest == token_digest, ~ended)).first()
    if row is None:
        return
    transaction.connection.execute(
        insert(credential_end).values(token_digest=token_digest, ended_at=ended_at, ended_by=ended_by, reason=reason)
    )
    audit.append(
        transaction,
        at=ended_at,
        actor=ended_by,
        action=f"{row.kind}.ended",
        entity=row.name,
        detail={"label": row.label, "credential": token_digest[:12]},
        reason=reason,
    )


def live_credential(reading: Reading, *, token_digest: str, now: datetime) -> Credential | None:
    """Return the session or token of a secret, unless it has ended."""
    query = select(credential).where(
        credential.c.token_digest == token_digest,
        credential.c.ends_at > now,
        ~exists().where(credential_end.c.token_digest == credential.c.token_digest),
    )
    row = reading.connection.execute(query).first()
    return None if row is None else _credential(row)


def live_credentials(reading: Reading, *, name: str, kind: CredentialKind, now: datetime) -> tuple[Credential, ...]:
    """Return what lets a person in now, the newest first."""
    query = (
        select(credential)
        .where(
            credential.c.name == name,
            credential.c.kind == kind.value,
            credential.c.ends_at > now,
            ~exists().where(credential_end.c.token_digest == credential.c.token_digest),
        )
        .order_by(credential.c.began_at.desc())
    )
    return tuple(_credential(row) for row in reading.connection.execute(query))


def _account(row: Row[tuple[object, ...]]) -> Account:
    return Account(
        name=row.name,
        full_name=row.full_name,
        role=Role(row.role),
        password_hash=row.password_hash,
        active=bool(row.active),
        recorded_at=row.recorded_at,
    )


def _credential(row: Row[tuple[object, ...]]) -> Credential:
    return Credential(
        token_digest=row.token_digest,
        kind=CredentialKind(row.kind),
        name=row.name,
        label=row.label,
        scope=Scope(row.scope),
        began_at=row.began_at,
        ends_at=row.ends_at,
    )
