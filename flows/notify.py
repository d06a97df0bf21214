"""Tells a person outside the laboratory how a night went: by a webhook or an e-mail named in lab.toml.

Knows how to send a line. What it sends leaves the laboratory, so it is counts and verdicts alone; what cannot be sent is
told in the log and never makes a night fail.
"""

from __future__ import annotations

import json
import smtplib
import urllib.error
import urllib.request
from email.message import EmailMessage

from biomarkers.lab.folders import NightlySettings

SECONDS = 20.0


def notify(settings: NightlySettings, *, subject: str, text: str) -> tuple[str, ...]:
    """Send a text to whoever lab.toml names; return what could not be sent, and why."""
    failed = []
    if settings.notify_webhook:
        try:
            _post(settings.notify_webhook, subject, text)
        except (urllib.error.URLError, OSError, ValueError) as error:
            failed.append(f"webhook: {error}")
    if settings.notify_email:
        try:
            _mail(settings, subject, text)
        except (smtplib.SMTPException, OSError) as error:
            failed.append(f"e-mail: {error}")
    return tuple(failed)


def _post(url: str, subject: str, text: str) -> None:
    request = urllib.request.Request(  # noqa: S310  - the operator's own setting, http or https by its pattern
        url,
        data=json.dumps({"subject": subject, "text": text}).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=SECONDS):  # noqa: S310  - as above
        pass


def _mail(settings: NightlySettings, subject: str, text: str) -> None:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = settings.notify_email
    message["To"] = settings.notify_email
    message.set_content(text)
    host, _, port = settings.smtp_host.partition(":")
    with smtplib.SMTP(host, int(port or 25), timeout=SECONDS) as server:
        server.send_message(message)
