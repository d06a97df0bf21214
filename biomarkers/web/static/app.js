"use strict";
// Everything works without this file but uploads; it makes the board live and filters immediate.
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

  // A table wider than its place is scrolled by keyboard as well; one that fits is no stop on the way.
  const reachable = () => {
    for (const place of document.querySelectorAll(".scroll")) {
      const words = place.getAttribute("aria-label") ?? place.closest("section")?.querySelector("h2, h3")?.textContent.trim();
      if (place.scrollWidth > place.clientWidth + 1) {
        place.tabIndex = 0;
        place.setAttribute("role", "region");
        place.setAttribute("aria-label", words || "Table");
      } else place.removeAttribute("tabindex");
    }
  };
  reachable();
  addEventListener("resize", reachable);

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

  // Redrawn regions go into the slide's inbox, signed by who is logged in.
  for (const redraw of document.querySelectorAll("form.redraw")) {
    redraw.addEventListener("submit", async (event) => {
      event.preventDefault();
      const line = redraw.nextElementSibling;
      const reason = redraw.querySelector("[name=reason]").value;
      line.className = "redraw-told";
      line.textContent = "…";
      try {
        const answer = await fetch(`${redraw.dataset.address}?reason=${encodeURIComponent(reason)}`, {
          method: "PUT", body: redraw.querySelector("[type=file]").files[0],
          headers: { "X-CSRF-Token": word, "Content-Type": "application/octet-stream" },
        });
        const said = await answer.json();
        const faults = answer.ok ? [] : said.errors ?? [{ what: "It was refused.", where: "", remedy: "" }];
        line.textContent = answer.ok ? `${said.name} lies in the inbox with your signature. The next sweep scores the slide again.` : faults.map((one) => `${one.what} ${one.where} ${one.remedy}`).join(" ");
        line.classList.add(answer.ok ? "said-good" : "said-bad");
        if (answer.ok) redraw.reset();
      } catch {
        line.textContent = "The server did not answer. Upload it again.";
        line.classList.add("said-bad");
      }
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
})();
