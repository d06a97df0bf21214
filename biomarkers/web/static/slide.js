"use strict";
// A slide under glass: tiles of the archived scan, with cells and regions drawn over them. Nothing here measures anything.
(() => {
  const root = document.getElementById("slide");
  if (!root) return;
  const glass = root.querySelector(".slide-glass");
  const canvas = glass.querySelector("canvas");
  const told = root.querySelector(".slide-told");
  const pen = canvas.getContext("2d");
  const COLOURS = ["#285aff", "#e6b800", "#ff8c00", "#d40000"];
  const KINDS = { tumour: "#8a1c7c", stroma: "#1c7c54", "invasive margin": "#b7801a", necrosis: "#444", exclude: "#777" };
  const MOST_TILES = 120, AT_ONCE = 6, GREATEST_SCALE = 8;
  const layers = { cells: true, regions: true };
  const tiles = new Map();
  let slide = null, cells = null, asked = "", stop = null, timer = 0, loading = 0, fault = "", frame = 0;
  let scale = 1, centreX = 0, centreY = 0; // screen pixels per pixel of the slide, and the place in the middle

  const wide = () => glass.clientWidth, high = () => glass.clientHeight;
  const least = () => Math.min(wide() / slide.width, high() / slide.height, 1);
  const box = () => ({
    left: centreX - wide() / 2 / scale, top: centreY - high() / 2 / scale,
    right: centreX + wide() / 2 / scale, bottom: centreY + high() / 2 / scale,
  });

  const settle = () => {
    scale = Math.min(GREATEST_SCALE, Math.max(least() * 0.8, scale));
    centreX = Math.min(slide.width, Math.max(0, centreX));
    centreY = Math.min(slide.height, Math.max(0, centreY));
    if (!frame) frame = requestAnimationFrame(draw);
    clearTimeout(timer);
    timer = setTimeout(rest, 140);
  };
  const whole = () => { scale = least(); centreX = slide.width / 2; centreY = slide.height / 2; settle(); };
  const zoom = (factor, atX = wide() / 2, atY = high() / 2) => {
    const before = scale;
    scale = Math.min(GREATEST_SCALE, Math.max(least() * 0.8, scale * factor));
    centreX += (atX - wide() / 2) * (1 / before - 1 / scale);
    centreY += (atY - high() / 2) * (1 / before - 1 / scale);
    settle();
  };
  const move = (x, y) => { centreX += x / scale; centreY += y / scale; settle(); };

  // Which tiles of a level lie in view, the middle of the view first.
  const inView = (level) => {
    const side = slide.tile * 2 ** (slide.top - level), seen = box(), found = [];
    const lastColumn = Math.ceil(slide.width / side) - 1, lastRow = Math.ceil(slide.height / side) - 1;
    for (let row = Math.max(0, Math.floor(seen.top / side)); row <= Math.min(lastRow, Math.floor(seen.bottom / side)); row += 1) {
      for (let column = Math.max(0, Math.floor(seen.left / side)); column <= Math.min(lastColumn, Math.floor(seen.right / side)); column += 1) {
        found.push({ level, column, row, side, far: Math.hypot((column + 0.5) * side - centreX, (row + 0.5) * side - centreY) });
      }
    }
    return found.sort((one, other) => one.far - other.far);
  };
  const bestLevel = () => {
    const wanted = slide.top + Math.ceil(Math.log2(Math.min(1, scale * (window.devicePixelRatio || 1))) - 0.001);
    return Math.min(slide.top, Math.max(0, wanted));
  };
  const name = (one) => `${one.level}/${one.column}/${one.row}`;

  const fetchTile = (one) => {
    const picture = new Image();
    const held = { picture, ready: false, failed: false };
    tiles.set(name(one), held);
    loading += 1;
    const done = () => { loading -= 1; settleSoon(); };
    picture.addEventListener("load", () => { held.ready = true; done(); });
    picture.addEventListener("error", () => { held.failed = true; fault = "A part of the slide cannot be read."; done(); });
    picture.src = `${root.dataset.address}/tiles/${name(one)}`;
  };
  const settleSoon = () => { if (!frame) frame = requestAnimationFrame(draw); };
  const forget = () => {
    for (const [key, held] of tiles) {
      if (tiles.size <= MOST_TILES) return;
      if (key !== "0/0/0" && held.ready) { held.picture.src = ""; tiles.delete(key); }
    }
  };

  const draw = () => {
    frame = 0;
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(wide() * ratio) || canvas.height !== Math.round(high() * ratio)) {
      canvas.width = Math.round(wide() * ratio);
      canvas.height = Math.round(high() * ratio);
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, wide(), high());
    const seen = box(), best = bestLevel();
    let missing = 0, shown = 0;
    pen.imageSmoothingEnabled = scale < 2;
    for (let level = 0; level <= best; level += 1) { // coarse ones under fine ones, so that nothing is ever blank
      for (const one of inView(level)) {
        const held = tiles.get(name(one));
        if (held?.ready) {
          tiles.delete(name(one)); tiles.set(name(one), held); // asked for last, forgotten last
          const factor = 2 ** (slide.top - level) * scale;
          const x = Math.round((one.column * one.side - seen.left) * scale), y = Math.round((one.row * one.side - seen.top) * scale);
          const right = (one.column * one.side - seen.left) * scale + held.picture.naturalWidth * factor;
          const bottom = (one.row * one.side - seen.top) * scale + held.picture.naturalHeight * factor;
          pen.drawImage(held.picture, x, y, Math.round(right) - x, Math.round(bottom) - y);
          if (level === best) shown += 1;
        } else if (!held && (level === best || level === 0)) {
          missing += 1;
          if (loading < AT_ONCE) fetchTile(one);
        } else if (held && !held.failed) missing += 1;
      }
    }
    if (layers.regions) drawRegions(seen);
    if (layers.cells && cells) drawCells(seen);
    drawRule();
    forget();
    root.dataset.level = best;
    root.dataset.shown = shown;
    root.dataset.missing = missing;
    root.dataset.scale = scale.toFixed(4);
    root.dataset.centre = `${Math.round(centreX)},${Math.round(centreY)}`;
  };

  const drawRegions = (seen) => {
    pen.lineWidth = 2;
    pen.font = "13px system-ui, sans-serif";
    for (const region of slide.regions) {
      pen.strokeStyle = KINDS[region.kind] ?? "#444";
      pen.beginPath();
      for (const ring of region.rings) {
        ring.forEach(([x, y], at) => pen[at ? "lineTo" : "moveTo"]((x - seen.left) * scale, (y - seen.top) * scale));
        pen.closePath();
      }
      pen.stroke();
      const first = region.rings[0]?.[0];
      if (first) {
        const words = region.name && region.name !== region.kind ? `${region.kind}: ${region.name}` : region.kind;
        label(words, (first[0] - seen.left) * scale + 6, (first[1] - seen.top) * scale + 16, pen.strokeStyle);
      }
    }
  };
  const drawCells = (seen) => {
    const usual = slide.pixel_size_um ? 3.5 / slide.pixel_size_um : 8;
    pen.lineWidth = scale > 0.5 ? 1.6 : 1.2;
    for (let grade = 0; grade < COLOURS.length; grade += 1) {
      pen.beginPath();
      for (let at = 0; at < cells.x.length; at += 1) {
        if (cells.grade[at] !== grade) continue;
        const x = (cells.x[at] - seen.left) * scale, y = (cells.y[at] - seen.top) * scale;
        const radius = Math.max(1.6, ((cells.r[at] ?? usual) + 1.5) * scale);
        pen.moveTo(x + radius, y);
        pen.arc(x, y, radius, 0, 6.2832);
      }
      pen.strokeStyle = COLOURS[grade];
      pen.stroke();
    }
  };
  const label = (words, x, y, colour) => {
    pen.lineWidth = 3.5;
    pen.strokeStyle = "rgba(255,255,255,.9)";
    pen.strokeText(words, x, y);
    pen.fillStyle = colour;
    pen.fillText(words, x, y);
    pen.lineWidth = 2;
  };
  // A ruler of a round length, where anybody says how large a pixel is.
  const drawRule = () => {
    if (!slide.pixel_size_um) return;
    const fitting = (140 / scale) * slide.pixel_size_um, decade = 10 ** Math.floor(Math.log10(fitting));
    const length = [5, 2, 1].map((one) => one * decade).find((one) => one <= fitting) ?? decade;
    const px = (length / slide.pixel_size_um) * scale, y = high() - 16;
    pen.fillStyle = "rgba(255,255,255,.82)";
    pen.fillRect(8, y - 24, px + 20, 34);
    pen.fillStyle = "#0b2f3b";
    pen.fillRect(18, y, px, 3);
    pen.font = "13px system-ui, sans-serif";
    pen.fillText(length >= 1000 ? `${length / 1000} mm` : `${length} µm`, 18, y - 6);
  };

  // Once the view rests: ask for the cells in it, and say what is seen.
  const rest = async () => {
    history.replaceState(null, "", `#x=${Math.round(centreX)}&y=${Math.round(centreY)}&s=${scale.toPrecision(3)}`);
    if (slide.cells === null || !layers.cells) { say(); return; }
    const seen = box();
    const query = ["left", "top", "right", "bottom"].map((side) => `${side}=${Math.round(seen[side])}`).join("&");
    if (query === asked) { say(); return; }
    stop?.abort();
    stop = new AbortController();
    try {
      const answer = await fetch(`${root.dataset.address}/cells?${query}`, { signal: stop.signal });
      if (!answer.ok) throw new Error(String(answer.status));
      cells = await answer.json();
      asked = query;
    } catch (error) {
      if (error.name === "AbortError") return;
      fault = "The cells could not be fetched.";
    }
    settleSoon();
    say();
  };
  const say = () => {
    const parts = [];
    if (slide.pixel_size_um) parts.push(`${(slide.pixel_size_um / scale).toPrecision(3)} µm a pixel`);
    else parts.push("pixel size not known");
    if (slide.cells === null) parts.push("no table of cells yet");
    else if (!layers.cells) parts.push(`${slide.cells.toLocaleString("en")} cells hidden`);
    else if (cells) {
      const drawn = cells.x.length, inside = cells.inside * cells.every;
      parts.push(drawn >= inside ? `${inside.toLocaleString("en")} cells in view` : `${drawn.toLocaleString("en")} of ${inside.toLocaleString("en")} cells in view drawn, positive ones first; zoom in for all`);
    }
    if (slide.regions.length) parts.push(`${slide.regions.length} region${slide.regions.length > 1 ? "s" : ""}`);
    if (slide.fault || fault) parts.push(slide.fault || fault);
    told.textContent = parts.join(" · ");
    root.dataset.cells = cells ? cells.x.length : 0;
  };

  // Hands: mouse, fingers, keys, buttons.
  const fingers = new Map();
  glass.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    glass.setPointerCapture(event.pointerId);
  });
  glass.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    const other = [...fingers.entries()].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const spread = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
      if (spread(before) > 4) zoom(spread(now) / spread(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      move((before[0] - now[0]) / 2, (before[1] - now[1]) / 2);
    } else move(before[0] - now[0], before[1] - now[1]);
    fingers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) glass.addEventListener(end, (event) => fingers.delete(event.pointerId));
  glass.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, event.offsetX, event.offsetY);
  }, { passive: false });
  glass.addEventListener("dblclick", (event) => zoom(2, event.offsetX, event.offsetY));
  const act = { in: () => zoom(1.5), out: () => zoom(1 / 1.5), whole };
  glass.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 0.8 : 0.2;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (moves) move(moves[0] * wide() * step, moves[1] * high() * step);
    else if (event.key === "+" || event.key === "=") act.in();
    else if (event.key === "-") act.out();
    else if (event.key === "0" || event.key === "Home") whole();
    else return;
    event.preventDefault();
  });
  root.addEventListener("click", (event) => act[event.target.closest("button")?.dataset.do]?.());
  root.addEventListener("change", (event) => {
    const layer = event.target.dataset.layer;
    if (layer) { layers[layer] = event.target.checked; settle(); }
  });
  new ResizeObserver(() => { if (slide) settle(); }).observe(glass);

  const begin = async () => {
    const answer = await fetch(`${root.dataset.address}/view`);
    if (!answer.ok) {
      told.textContent = "The slide cannot be read.";
      root.dataset.ready = "failed";
      return;
    }
    slide = await answer.json();
    root.querySelector('[data-layer="cells"]').disabled = slide.cells === null;
    root.querySelector('[data-layer="regions"]').disabled = !slide.regions.length;
    const place = new URLSearchParams(location.hash.slice(1));
    whole();
    if (place.has("x") && place.has("y")) {
      [centreX, centreY] = [Number(place.get("x")) || 0, Number(place.get("y")) || 0];
      scale = Number(place.get("s")) || 1;
      settle();
    }
    root.dataset.ready = "yes";
  };
  begin().catch(() => { told.textContent = "The server did not answer. Load the page again."; });
})();
