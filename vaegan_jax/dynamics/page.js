// Draws the sheet of panels that the page holds as JSON, in SVG. No library, nothing from elsewhere.
const sheet = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id), tip = byId("tip"), hidden = new Set();
const W = 84 * sheet.inches[0], H = 84 * sheet.inches[1], M = { left: 62, right: 12, top: 30, bottom: 44 };
let now = sheet.times ? sheet.times.at(-1) : null;

function make(parent, tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return parent.appendChild(node);
}

function until(s) {
  if (!s.times) return [s.x, s.y];
  let count = s.times.findIndex((time) => time > now);
  if (count < 0) count = s.times.length;
  return Array.isArray(s.x[0]) ? [s.x[count - 1] || [], s.y[count - 1] || []] : [s.x.slice(0, count), s.y.slice(0, count)];
}

function scale(panel, axis, low, high) {
  const log = panel[axis + "log"], f = log ? Math.log10 : (value) => value;
  let limits = panel[axis + "lim"];
  if (!limits) {
    const all = panel.series.flatMap((s) => s[axis].flat()).concat(panel.heat ? panel.heat[axis] : []);
    const values = all.filter((v) => v !== null && (!log || v > 0)).map(f);
    let [a, b] = [Math.min(...values), Math.max(...values)];
    if (a === b) [a, b] = [a - 1, b + 1];
    const margin = panel.heat ? 0 : 0.04 * (b - a);
    limits = [a - margin, b + margin];
  } else limits = limits.map(f);
  const [a, b] = limits;
  return { at: (v) => low + ((f(v) - a) / (b - a)) * (high - low), a, b, log };
}

function ticks({ a, b, log }) {
  if (log) {
    const every = Math.max(1, Math.ceil((b - a) / 6)), found = [];
    for (let e = Math.ceil(a); e <= b; e += every) found.push([10 ** e, e >= -2 && e <= 4 ? String(+(10 ** e).toPrecision(1)) : "1e" + e]);
    return found;
  }
  const raw = (b - a) / 5, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw), found = [];
  for (let v = Math.ceil(a / step) * step; v <= b + 1e-9 * step; v += step) found.push([v, String(+v.toPrecision(6))]);
  return found;
}

function heat(svg, panel, sx, sy) {
  const { x, y, values, contour, label } = panel.heat, flat = values.flat().filter((v) => v !== null);
  const low = Math.min(...flat, 0.999 * contour), side = (v, i) => (v[i + 1] ?? 2 * v[i] - v[i - 1]);
  const wide = Math.abs(sx.at(x[1]) - sx.at(x[0])) + 0.5, tall = Math.abs(sy.at(y[1]) - sy.at(y[0])) + 0.5;
  const mix = (t, far) => "rgb(" + far.map((c) => Math.round(247 + t * (c - 247))).join() + ")";
  values.forEach((row, j) => row.forEach((v, i) => {
    const t = v === null ? 1 : Math.min(1, Math.abs(v - contour) / (contour - low));
    const fill = v === null ? "#bbb" : v < contour ? mix(t, [84, 39, 136]) : mix(t, [179, 88, 6]);
    const cell = make(svg, "rect", { x: sx.at(x[i]) - wide / 2, y: sy.at(y[j]) - tall / 2, width: wide, height: tall, fill });
    cell.dataset.tip = `${panel.xlabel} ${x[i].toPrecision(5)}\n${panel.ylabel} ${y[j].toPrecision(5)}\n${label} ${v === null ? "?" : v.toPrecision(7)}`;
  }));
  values.forEach((row, j) => row.forEach((v, i) => {  // the border of what is below the contour
    const line = (x1, y1, x2, y2) => make(svg, "line", { x1, y1, x2, y2, stroke: "black", "stroke-width": 1.8 });
    const [cx, cy, w, t] = [sx.at(x[i]), sy.at(y[j]), wide / 2, tall / 2];
    if (i + 1 < row.length && v < contour !== row[i + 1] < contour) line(cx + w, cy - t, cx + w, cy + t);
    if (j + 1 < values.length && v < contour !== values[j + 1][i] < contour) line(cx - w, cy - t, cx + w, cy - t);
  }));
}

function series(svg, panel, s, sx, sy) {
  if (hidden.has(s.name)) return;
  const color = sheet.colors[s.color], [xs, ys] = until(s);
  const fine = (i) => xs[i] !== null && ys[i] !== null && (!panel.xlog || xs[i] > 0) && (!panel.ylog || ys[i] > 0);
  if (s.kind === "arrows") {
    const longest = Math.max(...s.u.map((u, i) => Math.hypot(u, s.v[i]))) || 1, size = 26 / longest;
    s.x.forEach((x, i) => {
      const [dx, dy] = [s.u[i] * size, -s.v[i] * size], [px, py] = [sx.at(x), sy.at(s.y[i])];
      make(svg, "path", { d: `M${px - dx / 2},${py - dy / 2}l${dx},${dy}l${-0.3 * dx - 0.15 * dy},${-0.3 * dy + 0.15 * dx}`, stroke: "#bbb", fill: "none" });
    });
  } else if (s.kind === "dots") {
    xs.forEach((x, i) => fine(i) && (make(svg, "circle", { cx: sx.at(x), cy: sy.at(ys[i]), r: 0.7 * s.size, fill: color }).dataset.tip = near(panel, s, xs, ys, i)));
  } else {
    let d = "", pen = false;
    for (let i = 0; i < xs.length; i++) {
      if (fine(i)) d += (pen ? "L" : "M") + sx.at(xs[i]).toFixed(2) + "," + sy.at(ys[i]).toFixed(2);
      pen = fine(i);
    }
    const path = make(svg, "path", { d, fill: "none", stroke: color, "stroke-width": s.size, "stroke-dasharray": sheet.dashes[s.dash].join() });
    const hit = make(svg, "path", { d, fill: "none", stroke: "transparent", "stroke-width": 12 });
    hit.addEventListener("mousemove", (event) => {
      const box = svg.ownerSVGElement.getBoundingClientRect(), grown = W / box.width;
      const [mx, my] = [(event.clientX - box.x) * grown, (event.clientY - box.y) * grown];
      let best = 0, least = Infinity;
      for (let i = 0; i < xs.length; i++) if (fine(i)) {
        const far = Math.hypot(sx.at(xs[i]) - mx, sy.at(ys[i]) - my);
        if (far < least) [best, least] = [i, far];
      }
      hit.dataset.tip = near(panel, s, xs, ys, best);
    });
    path.style.pointerEvents = "none";
  }
}

function near(panel, s, xs, ys, i) {
  const when = s.times && !Array.isArray(s.x[0]) && panel.xlabel !== sheet.clock ? `${sheet.clock} ${s.times[i]}\n` : "";
  return `${s.name ? s.name + "\n" : ""}${when}${panel.xlabel || "x"} ${xs[i]}\n${panel.ylabel || "y"} ${ys[i]}`;
}

function draw(panel, place, number) {
  const svg = make(place, "svg", { width: W, height: H, viewBox: `0 0 ${W} ${H}` });
  const side = Math.min(W - M.left - M.right, H - M.top - M.bottom), box = { ...M };
  const right = panel.equal ? M.left + side : W - M.right, bottom = panel.equal ? M.top + side : H - M.bottom;
  const sx = scale(panel, "x", box.left, right), sy = scale(panel, "y", bottom, box.top);
  make(svg, "clipPath", { id: "clip" + number }).appendChild(make(svg, "rect", { x: box.left, y: box.top, width: right - box.left, height: bottom - box.top }));
  if (panel.xlabel || panel.ylabel) {
    for (const [v, text] of ticks(sx)) {
      make(svg, "line", { x1: sx.at(v), x2: sx.at(v), y1: box.top, y2: bottom, stroke: "#e4e4e4" });
      make(svg, "text", { x: sx.at(v), y: bottom + 15, "text-anchor": "middle" }, text);
    }
    for (const [v, text] of panel.yticks ? ticks(sy) : []) {
      make(svg, "line", { x1: box.left, x2: right, y1: sy.at(v), y2: sy.at(v), stroke: "#e4e4e4" });
      make(svg, "text", { x: box.left - 5, y: sy.at(v) + 4, "text-anchor": "end" }, text);
    }
  }
  const inside = make(svg, "g", { "clip-path": `url(#clip${number})` });
  if (panel.heat) heat(inside, panel, sx, sy);
  for (const s of panel.series) series(inside, panel, s, sx, sy);
  make(svg, "rect", { x: box.left, y: box.top, width: right - box.left, height: bottom - box.top, fill: "none", stroke: "#555" });
  for (const [x, y, text] of panel.notes) make(svg, "text", { x: sx.at(x) + 6, y: sy.at(y) - 6 }, text);
  const moves = panel.series.some((s) => s.times && Array.isArray(s.x[0]));  // its title ends with what the slider tells
  const title = moves ? panel.title.replace(/[\d,]+$/, now.toLocaleString("en")) : panel.title;
  make(svg, "text", { x: (box.left + right) / 2, y: 18, "text-anchor": "middle", style: `font-size:${Math.min(14, (1.5 * W) / title.length)}px` }, title);
  make(svg, "text", { x: (box.left + right) / 2, y: bottom + 34, "text-anchor": "middle" }, panel.xlabel);
  make(svg, "text", { transform: `translate(14,${(box.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, panel.ylabel);
}

function drawAll() {
  const all = byId("panels");
  all.textContent = "";
  let number = 0;
  for (const row of sheet.rows) {
    const place = all.appendChild(document.createElement("div"));
    place.className = "row";
    for (const panel of row) draw(panel, place, number++);
  }
}

const looks = new Map();
for (const s of sheet.rows.flat().flatMap((panel) => panel.series)) if (s.name && !looks.has(s.name)) looks.set(s.name, s);
for (const [name, s] of looks) {
  const label = byId("legend").appendChild(document.createElement("label"));
  const box = label.appendChild(Object.assign(document.createElement("input"), { type: "checkbox", checked: true }));
  box.addEventListener("change", () => { box.checked ? hidden.delete(name) : hidden.add(name); drawAll(); });
  const sample = make(label, "svg", { width: 34, height: 10 });
  make(sample, "line", { x1: 2, x2: 32, y1: 5, y2: 5, stroke: sheet.colors[s.color], "stroke-width": 2.5, "stroke-dasharray": sheet.dashes[s.dash].join() });
  label.append(" " + name);
}
if (sheet.times) {
  const told = document.createElement("span"), slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 0, max: sheet.times.length - 1, value: sheet.times.length - 1, style: "width:22em" });
  const tell = () => { now = sheet.times[slider.value]; told.textContent = ` ${sheet.clock} ${now}`; drawAll(); };
  slider.addEventListener("input", tell);
  byId("time").append(slider, told);
  tell();
}
document.addEventListener("mousemove", (event) => {
  const text = event.target.dataset?.tip;
  tip.style.display = text ? "block" : "none";
  if (text) { tip.textContent = text; tip.style.left = event.clientX + 14 + "px"; tip.style.top = event.clientY + 14 + "px"; }
});
drawAll();
