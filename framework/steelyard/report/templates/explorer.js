(() => {
  const data = JSON.parse(document.getElementById("explored").textContent);
  const root = document.getElementById("explorer");
  const [up, across] = root.querySelectorAll("select");
  const scatter = root.querySelector(".scatter"), lines = root.querySelector(".parallel");
  const list = root.querySelector(".onfront"), chosen = root.querySelector(".chosen"), said = root.querySelector(".said");
  const count = data.groups.length;
  const make = (name, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const show = value => value === null ? "not measured" : String(Number(value.toPrecision(4)));
  const tick = value => Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3)
    ? value.toExponential(1).replace(".0", "").replace("+", "") : show(value);

  // From values to places between 0 and 1: by logarithm where they span two decades, evenly for words.
  const scale = axis => {
    if (axis.options) {
      const last = Math.max(1, axis.options.length - 1);
      const step = Math.ceil(axis.options.length / 10);
      const ticks = axis.options.map((name, at) => [at / last, name]).filter((one, at) => at % step === 0);
      return {place: at => at === null ? null : at / last, ticks};
    }
    const known = axis.values.filter(value => value !== null);
    const low = Math.min(...known), high = Math.max(...known);
    const log = low > 0 && high / low > 100;
    const bend = log ? Math.log10 : value => value;
    const from = bend(low), span = bend(high) - from || 1;
    const place = value => value === null ? null : (bend(value) - from) / span;
    const ticks = [];
    if (log) {
      for (let power = Math.ceil(from - 1e-9); power <= from + span + 1e-9; power++) ticks.push(10 ** power);
    }
    if (ticks.length < 2) {
      ticks.length = 0;
      const rough = (high - low) / 4 || 1, unit = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map(one => one * unit).find(one => one >= rough);
      for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) ticks.push(at * step);
    }
    return {place, ticks: ticks.map(value => [place(value), tick(value)])};
  };

  // What no other group beats in both; the same rule as in the pictures above.
  const front = (x, y) => {
    if (!x.better || !y.better) return [];
    const both = [...Array(count).keys()].filter(at => x.values[at] !== null && y.values[at] !== null);
    const cost = (score, at) => -score.better * score.values[at];
    both.sort((a, b) => cost(x, a) - cost(x, b) || cost(y, a) - cost(y, b));
    const kept = [];
    let least = Infinity, column = NaN;
    for (const at of both) {
      const equal = cost(x, at) === column && cost(y, at) === least;
      if (cost(y, at) < least) { least = cost(y, at); column = cost(x, at); kept.push(at); }
      else if (equal) kept.push(at);
    }
    return kept;
  };

  const command = at => data.groups[at][3] === null ? null
    : ["steelyard run", data.common, data.groups[at][3]].filter(part => part).join(" ");

  const entry = at => {
    const [label, trials, link] = data.groups[at];
    const item = document.createElement("li");
    const name = document.createElement(link ? "a" : "span");
    if (link) name.href = link;
    name.textContent = label;
    const x = data.scores[across.value], y = data.scores[up.value];
    item.append(name, ` ${y.label} ${show(y.values[at])}, ${x.label} ${show(x.values[at])}`);
    if (trials > 1) item.append(`, mean of ${trials} trials`);
    const line = command(at);
    if (line) { const code = document.createElement("code"); code.textContent = line; item.append(code); }
    return item;
  };

  const draw = () => {
    const x = data.scores[across.value], y = data.scores[up.value], best = front(x, y), strong = new Set(best);
    const wide = Math.max(300, Math.min(720, scatter.clientWidth)), high = Math.max(260, Math.min(380, 0.6 * wide));
    const left = 64, right = 18, top = 14, bottom = 46;
    const sx = scale(x), sy = scale(y);
    // Room for the marks of the extremes.
    const inset = place => 0.04 + 0.92 * place;
    const along = place => left + inset(place) * (wide - left - right);
    const above = place => high - bottom - inset(place) * (high - top - bottom);
    const at = group => [along(sx.place(x.values[group])), above(sy.place(y.values[group]))];
    // Few groups keep the colours that they have everywhere.
    const kind = group => count > 6 ? (strong.has(group) ? "mark s1" : "dot")
      : `${strong.has(group) ? "mark" : "hollow"} s${group}`;
    const svg = make("svg", {viewBox: `0 0 ${wide} ${high}`, class: "chart", role: "img",
      "aria-label": `${y.label} against ${x.label}, ${count} groups, ${best.length} on the front`});
    for (const [place, text] of sy.ticks) {
      const level = above(place);
      svg.append(make("line", {x1: left, x2: wide - right, y1: level, y2: level, class: "grid"}));
      svg.append(make("text", {x: left - 6, y: level + 4, class: "tick", "text-anchor": "end"}, text));
    }
    for (const [place, text] of sx.ticks) {
      const level = along(place);
      svg.append(make("line", {x1: level, x2: level, y1: high - bottom, y2: high - bottom + 4, class: "frame"}));
      svg.append(make("text", {x: level, y: high - bottom + 17, class: "tick", "text-anchor": "middle"}, text));
    }
    svg.append(make("line", {x1: left, x2: wide - right, y1: high - bottom, y2: high - bottom, class: "frame"}));
    svg.append(make("text", {x: (left + wide - right) / 2, y: high - 6, class: "label", "text-anchor": "middle"}, x.label));
    const order = [...Array(count).keys()].filter(one => x.values[one] !== null && y.values[one] !== null);
    if (best.length > 1) {
      const places = best.map(at);
      let path = `M${places[0]}`;
      // Steps: the corner has the worse value of both, since nothing lies between two groups.
      for (let one = 1; one < places.length; one++) path += `L${places[one][0]},${places[one - 1][1]}L${places[one]}`;
      svg.append(make("path", {d: path, class: "front"}));
    }
    order.sort((a, b) => strong.has(a) - strong.has(b));
    for (const one of order) {
      const [cx, cy] = at(one);
      const mark = make("circle", {cx: cx.toFixed(1), cy: cy.toFixed(1), r: strong.has(one) ? 5 : 3.5,
        class: kind(one), "data-at": one});
      mark.append(make("title", {}, `${data.groups[one][0]}: ${show(y.values[one])} at ${show(x.values[one])}`));
      svg.append(mark);
    }
    scatter.replaceChildren(svg);
    const missing = count - order.length;
    said.textContent = [
      `Up: ${y.label}; across: ${x.label}; each dot a group, the mean of its seeds.`,
      best.length ? `Filled: on the front, ${best.length} of ${order.length}. Means only: seeds may move them.`
        : "No front: one of the two has no better end.",
      missing ? `${missing} ${missing === 1 ? "group that lacks one of the two is" : "groups that lack one of the two are"} not drawn.` : "",
    ].join(" ");
    list.replaceChildren(...best.slice(0, 12).map(entry));
    parallel(strong, x, y);
  };

  let marked = null;
  const parallel = (strong, x, y) => {
    const axes = [...data.keys, x, ...(x === y ? [] : [y])];
    const gap = 118, wide = Math.max(lines.clientWidth, gap * axes.length), high = 300, top = 40, bottom = 16;
    const scales = axes.map(scale);
    const svg = make("svg", {viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, class: "chart", role: "img",
      "aria-label": `Each group a line over ${axes.map(one => one.label).join(", ")}`});
    const column = at => gap / 2 + at * (wide - gap) / Math.max(1, axes.length - 1);
    const path = groups => {
      let text = "";
      for (const one of groups) {
        let open = false;
        axes.forEach((axis, place) => {
          const height = scales[place].place(axis.values[one]);
          if (height === null) { open = false; return; }
          text += `${open ? "L" : "M"}${column(place).toFixed(0)},${(high - bottom - height * (high - top - bottom)).toFixed(1)}`;
          open = true;
        });
      }
      return text;
    };
    const all = [...Array(count).keys()];
    svg.append(make("path", {d: path(all.filter(one => !strong.has(one))), class: "faint",
      style: `opacity:${Math.max(0.06, Math.min(0.5, 20 / count))}`}));
    svg.append(make("path", {d: path(all.filter(one => strong.has(one))), class: "bold"}));
    if (marked !== null) svg.append(make("path", {d: path([marked]), class: "marked"}));
    axes.forEach((axis, place) => {
      const left = column(place);
      svg.append(make("line", {x1: left, x2: left, y1: top, y2: high - bottom, class: "frame"}));
      const name = axis.label.length > 19 ? `${axis.label.slice(0, 18)}…` : axis.label;
      const text = make("text", {x: left, y: 14, class: "name", "text-anchor": "middle"}, name);
      text.append(make("title", {}, axis.label));
      svg.append(text);
      for (const [at, label] of scales[place].ticks) {
        const short = label.length > 14 ? `${label.slice(0, 13)}…` : label;
        const level = high - bottom - at * (high - top - bottom) + 4;
        svg.append(make("text", {x: left + 4, y: level, class: "tick"}, short));
      }
    });
    lines.replaceChildren(svg);
  };

  scatter.addEventListener("click", event => {
    const mark = event.target.closest("[data-at]");
    if (!mark) return;
    marked = Number(mark.getAttribute("data-at"));
    chosen.replaceChildren(entry(marked));
    draw();
  });
  data.scores.forEach((score, at) => {
    for (const select of [across, up]) {
      const arrow = score.better ? (score.better > 0 ? " ↑" : " ↓") : "";
      select.append(new Option(score.label + arrow, at));
    }
  });
  up.value = 0;
  across.value = 1;
  across.addEventListener("change", draw);
  up.addEventListener("change", draw);
  root.hidden = false;
  addEventListener("resize", draw);
  draw();
})();
