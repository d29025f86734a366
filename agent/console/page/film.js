// Plays a clip: JPEGs one after the other in an AVI file, which no browser plays by itself.
// Format: "AVI RIFF File Reference" of DirectShow; agent/schema/avi.py writes it.

import { html } from "/dom.js";

const text = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));

/** The frames and the rate of an AVI file of JPEGs; throws where it is none or cut off. */
export function readFilm(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  if (bytes.length < 12 || text(bytes, 0) !== "RIFF" || text(bytes, 8) !== "AVI ") throw new Error("the clip is no AVI file");
  const film = { frames: [], period_ms: 200 };
  const walk = (start, end) => {
    for (let at = start; at + 8 <= end; ) {
      const [kind, size] = [text(bytes, at), view.getUint32(at + 4, true)];
      const [first, last] = [at + 8, at + 8 + size];
      if (last > end) throw new Error("the clip is cut off");
      if (kind === "LIST") walk(first + 4, last);
      if (kind === "avih") film.period_ms = view.getUint32(first, true) / 1000;
      if (kind === "00dc") film.frames.push(bytes.subarray(first, last));
      at = last + (size % 2);
    }
  };
  walk(12, bytes.length);
  if (!film.frames.length) throw new Error("the clip has no pictures");
  return film;
}

/** A player for the clip at `address`; it stops by itself when it is taken out of the page. */
export function player(address) {
  const canvas = html("canvas", { width: 640, height: 360, role: "img", ariaLabel: "Clip" });
  const play = html("button", { type: "button", textContent: "Play clip" });
  const bar = html("input", { type: "range", min: 0, max: 0, value: 0, ariaLabel: "Place in the clip", disabled: true });
  const save = html("a", { className: "button quiet", href: address, download: "clip.avi", textContent: "Download" });
  const element = html("div", { className: "film" }, canvas, html("div", { className: "tools" }, play, bar, save));
  let film = null;
  let timer = 0;
  canvas.hidden = true;

  const draw = async () => {
    const bitmap = await createImageBitmap(new Blob([film.frames[bar.value]], { type: "image/jpeg" }));
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
  };
  const pause = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play clip";
  };
  const step = () => {
    if (!element.isConnected || Number(bar.value) >= film.frames.length - 1) return pause();
    bar.value = Number(bar.value) + 1;
    return draw();
  };
  const start = async () => {
    if (!film) {
      play.textContent = "Loading…";
      const answer = await fetch(address);
      if (!answer.ok) throw new Error("there is no clip of this event any more");
      film = readFilm(await answer.arrayBuffer());
      bar.max = film.frames.length - 1;
      bar.disabled = false;
      canvas.hidden = false;
    }
    if (Number(bar.value) >= film.frames.length - 1) bar.value = 0;
    await draw();
    play.textContent = "Pause";
    timer = setInterval(step, film.period_ms);
  };
  play.addEventListener("click", () => (timer ? pause() : start().catch((error) => (play.textContent = error.message))));
  bar.addEventListener("input", () => (pause(), draw()));
  return element;
}
