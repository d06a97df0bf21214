"use strict";
// Everything works without this file but uploads; it makes the board live, filters immediate and slides movable.
(() => {
  const word = document.querySelector('meta[name="csrf"]')?.content ?? "";

  // Moments are written in UTC; the title tells the reader's own time.
  const localTimes = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      if (!Number.isNaN(moment.valueOf())) time.title = moment.toLocaleString();
    }
  };
  localTimes(document);

  // The board asks again every few seconds, and only while somebody can see it.
  const live = document.getElementById("live");
  if (live) {
    let tag = "";
    const look = async () => {
      if (document.hidden) return;
      try {
        const answer = await fetch(live.dataset.address, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
        if (answer.status === 401 || answer.redirected) { location.reload(); return; }
        if (answer.status !== 200) return;
        const before = tag;
        tag = answer.headers.get("ETag") ?? "";
        const text = await answer.text();
        if (before && before !== tag && !live.contains(document.activeElement)) {
          // Our own server's page, escaped there; no script in it would run under the page's policy.
          live.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
          localTimes(live);
        } else if (before !== tag && before) { tag = before; }
      } catch { /* the server is away for a moment; the next look tells */ }
    };
    look();
    setInterval(look, 1000 * Number(live.dataset.seconds));
    document.addEventListener("visibilitychange", look);
  }

  // Files dropped here go into the same inbox as any other.
  const form = document.getElementById("upload-form");
  if (form) {
    const list = document.getElementById("upload-list");
    const kind = document.getElementById("upload-kind");
    const picked = document.getElementById("upload-files");
    const send = async (file) => {
      const line = document.createElement("li");
      line.textContent = `${file.name} …`;
      list.prepend(line);
      try {
        const answer = await fetch(`/inbox/${encodeURIComponent(kind.value)}?name=${encodeURIComponent(file.name)}`, {
          method: "PUT", body: file, headers: { "X-CSRF-Token": word, "Content-Type": "application/octet-stream" },
        });
        const told = await answer.json();
        const fault = answer.ok ? null : told.errors?.[0];
        line.textContent = fault ? `${file.name}: ${fault.what} ${fault.remedy}` : `${file.name} lies in ${told.assay}.`;
        line.className = fault ? "said-bad" : "said-good";
      } catch {
        line.textContent = `${file.name}: the server did not answer. Drop it again.`;
        line.className = "said-bad";
      }
    };
    const sendAll = async (files) => { for (const file of files) await send(file); };
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      await sendAll([...picked.files]);
      form.reset();
    });
    let depth = 0;
    const mark = (on) => document.body.classList.toggle("dragging", on);
    document.addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; mark(true); });
    document.addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) mark(false); });
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      depth = 0;
      mark(false);
      if (event.dataTransfer?.files.length) sendAll([...event.dataTransfer.files]);
    });
  }

  // A choice shows at once; the button stays for those without script.
  document.getElementById("filters")?.addEventListener("change", (event) => event.currentTarget.requestSubmit());

  // Arrow keys walk over the plate's wells.
  const grid = document.querySelector(".plate-grid");
  grid?.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const cell = event.target.closest("td");
    if (!step || !cell) return;
    event.preventDefault();
    let row = cell.parentElement.rowIndex;
    let column = cell.cellIndex;
    for (;;) {
      row += step[0];
      column += step[1];
      const next = grid.rows[row]?.cells[column];
      if (!next) return;
      const box = next.querySelector("input:not(:disabled)");
      if (box) { box.focus(); return; }
    }
  });

  // A slide's picture is moved and zoomed.
  const viewer = document.getElementById("viewer");
  const picture = viewer?.querySelector("img");
  if (picture) {
    let scale = 1, x = 0, y = 0, least = 0.05, held = null;
    const draw = () => { picture.style.transform = `translate(${x}px,${y}px) scale(${scale})`; };
    const whole = () => {
      least = Math.min(viewer.clientWidth / picture.naturalWidth, viewer.clientHeight / picture.naturalHeight, 1);
      scale = least; x = (viewer.clientWidth - picture.naturalWidth * scale) / 2; y = 0; draw();
    };
    const zoom = (factor, atX, atY) => {
      const next = Math.min(8, Math.max(least, scale * factor));
      x = atX - (atX - x) * next / scale;
      y = atY - (atY - y) * next / scale;
      scale = next;
      draw();
    };
    if (picture.complete && picture.naturalWidth) whole(); else picture.addEventListener("load", whole);
    viewer.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = viewer.getBoundingClientRect();
      zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    viewer.addEventListener("pointerdown", (event) => { held = [event.clientX - x, event.clientY - y]; viewer.setPointerCapture(event.pointerId); });
    viewer.addEventListener("pointermove", (event) => { if (held) { x = event.clientX - held[0]; y = event.clientY - held[1]; draw(); } });
    viewer.addEventListener("pointerup", () => { held = null; });
    viewer.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
      if (moves[event.key]) { x += moves[event.key][0]; y += moves[event.key][1]; draw(); }
      else if (event.key === "+" || event.key === "=") zoom(1.3, viewer.clientWidth / 2, viewer.clientHeight / 2);
      else if (event.key === "-") zoom(1 / 1.3, viewer.clientWidth / 2, viewer.clientHeight / 2);
      else if (event.key === "0") whole();
      else return;
      event.preventDefault();
    });
  }
})();
