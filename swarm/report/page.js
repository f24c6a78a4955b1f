"use strict";
// Timelines: what everybody did at the moment under the pointer, and zoom. Times are read from the bars, in milliseconds.
const WORDS = {prefill: "before the first token", decode: "decode", stall: "stands still", tool: "tool", failed: "failed", server: ""};

function seconds(ms) { return (ms / 1000).toFixed(ms < 10000 ? 2 : 1) + " s"; }

function attach(svg) {
  const track = svg.parentElement, ticks = track.querySelector(".ticks");
  const whole = Number(svg.dataset.ms), height = svg.viewBox.baseVal.height;
  const add = name => { const one = document.createElement("div"); one.className = name; one.hidden = true; track.append(one); return one; };
  const cursor = add("cursor"), picked = add("picked"), tip = add("tip");
  const rows = [...svg.querySelectorAll("g")].map(group => ({
    name: group.dataset.name,
    bars: [...group.children].map(bar => ({start: Number(bar.getAttribute("x")), length: Number(bar.getAttribute("width")), kind: bar.getAttribute("class"), note: bar.dataset.n || ""})),
  }));
  let from = 0, to = whole, grabbed = null;

  function show(start, stop) {
    from = Math.max(0, start); to = Math.min(whole, Math.max(stop, from + 50));
    svg.setAttribute("viewBox", `${from} 0 ${to - from} ${height}`);
    ticks.replaceChildren(...rounded().map(ms => {
      const tick = document.createElement("span");
      tick.style.left = (ms - from) / (to - from) * 100 + "%";
      tick.textContent = +(ms / 1000).toFixed(3) + " s";
      return tick;
    }));
  }
  function rounded() {
    const power = 10 ** Math.floor(Math.log10((to - from) / 6));
    const step = power * [1, 2, 2.5, 5, 10].find(times => times * power * 6 >= (to - from) * 0.999);
    const first = Math.ceil(from / step);
    return Array.from({length: Math.floor(to / step) - first + 1}, (_, place) => (first + place) * step);
  }
  function time(event) {
    const box = svg.getBoundingClientRect();
    return from + Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * (to - from);
  }
  function place(ms) { return (ms - from) / (to - from) * svg.getBoundingClientRect().width; }

  function line(row, ms, pointed) {
    const bar = row.bars.find(one => one.start <= ms && ms < one.start + one.length);
    if (!bar && rows.length > 12 && !pointed) return null;
    const text = document.createElement("div"), key = document.createElement("i");
    key.className = "key " + (bar ? bar.kind : "idle");
    if (pointed) text.className = "on";
    const doing = !bar ? "waiting" : bar.kind === "server" ? bar.note : `${WORDS[bar.kind]} ${seconds(bar.length)}${bar.note ? " (" + bar.note + ")" : ""}`;
    text.append(key, `${row.name}: ${doing}`);
    return text;
  }
  function tell(event) {
    const ms = time(event), box = svg.getBoundingClientRect();
    const pointed = Math.floor((event.clientY - box.top) / box.height * rows.length);
    const shown = rows.length <= 24 ? rows : rows.slice(Math.max(0, pointed - 10), pointed + 11);
    const head = document.createElement("b");
    head.textContent = "at " + seconds(ms);
    tip.replaceChildren(head, ...shown.map(row => line(row, ms, row === rows[pointed])).filter(Boolean));
    tip.hidden = cursor.hidden = false;
    cursor.style.left = place(ms) + "px";
    const left = place(ms) + 14;
    tip.style.left = (left + tip.offsetWidth > box.width ? Math.max(0, left - 28 - tip.offsetWidth) : left) + "px";
    tip.style.top = box.height + 24 + "px";
  }
  svg.addEventListener("pointermove", event => {
    tell(event);
    if (grabbed === null) return;
    const now = time(event);
    picked.hidden = false;
    picked.style.left = place(Math.min(grabbed, now)) + "px";
    picked.style.width = Math.abs(place(now) - place(grabbed)) + "px";
  });
  svg.addEventListener("pointerdown", event => { grabbed = time(event); svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointerup", event => {
    const start = grabbed, stop = time(event);
    grabbed = null; picked.hidden = true;
    if (start !== null && Math.abs(stop - start) > (to - from) / 100) show(Math.min(start, stop), Math.max(start, stop));
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = cursor.hidden = picked.hidden = true; grabbed = null; });
  svg.addEventListener("dblclick", () => show(0, whole));
}

document.querySelectorAll("svg.lanes").forEach(attach);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => { one.open = true; }));
