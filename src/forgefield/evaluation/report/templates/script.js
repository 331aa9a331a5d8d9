"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const values = JSON.parse(document.getElementById("values").textContent);
  const tip = document.getElementById("tip");
  const section = document.getElementById("parity");
  const SVG = document.querySelector("svg").namespaceURI;

  const shown = () => section.dataset.show;
  const visible = (style) => shown() === "all" || shown() === style;
  const short = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text = size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
    return text.replace("-", "−");
  };
  const nameOf = (style) => {
    const at = values.styles.indexOf(style);
    return at < 0 ? "" : values.splits[at];
  };
  const where = (i) => `${values.groups[values.group[i]]}, ${values.splits[values.split[i]]}`;

  function show(lines, x, y) {
    tip.replaceChildren();
    lines.forEach((line, n) => {
      const part = document.createElement(n ? "div" : "strong");
      part.textContent = line;
      tip.append(part);
    });
    tip.hidden = false;
    const width = tip.offsetWidth;
    const height = tip.offsetHeight;
    const left = x + 16 + width > window.innerWidth ? x - 16 - width : x + 16;
    const top = y - 12 - height < 4 ? y + 18 : y - 12 - height;
    tip.style.left = `${Math.max(4, Math.min(left, window.innerWidth - width - 4))}px`;
    tip.style.top = `${top}px`;
  }

  function element(svg, tag, attributes) {
    let found = svg.querySelector(`.${attributes.class}`);
    if (!found) {
      found = document.createElementNS(SVG, tag);
      svg.append(found);
    }
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
    return found;
  }

  function toImage(svg, event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [at.x, at.y];
  }

  function toScreen(svg, x, y) {
    const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
    return [at.x, at.y];
  }

  // Points: every value is one target; the largest error comes first.
  function pointTargets(plot) {
    const [low, high, left, right, top, bottom] = plot.axis;
    const targets = [];
    for (const series of plot.series) {
      series.i.forEach((i, n) => {
        const r = series.r[n];
        const p = series.p[n];
        targets.push({
          style: series.k,
          x: left + ((r - low) / (high - low)) * (right - left),
          y: bottom + ((p - low) / (high - low)) * (top - bottom),
          size: Math.abs(p - r),
          lines: () => {
            const component = series.c ? ` ${plot.components[series.c[n]]}` : "";
            return [
              values.names[i],
              where(i) + component,
              `reference ${short(r)}, predicted ${short(p)} ${plot.unit}`,
              `error ${short((p - r) * plot.scale)} ${plot.errorUnit}`,
            ];
          },
        });
      });
    }
    return targets.sort((a, b) => b.size - a.size);
  }

  function hexagonTargets(plot) {
    const [low, high, left, right, top, bottom] = plot.axis;
    const toValue = (x) => low + ((x - left) / (right - left)) * (high - low);
    return plot.x
      .map((x, n) => {
        const y = plot.y[n];
        const predicted = low + ((y - bottom) / (top - bottom)) * (high - low);
        const count = () => Object.entries(plot.n).reduce((sum, [k, c]) => sum + (visible(k) ? c[n] : 0), 0);
        return {
          x,
          y,
          count,
          size: Math.abs(toValue(x) - predicted),
          lines: () => [
            `${count().toLocaleString("en")} value${count() === 1 ? "" : "s"}`,
            Object.entries(plot.n).filter(([k, c]) => visible(k) && c[n]).map(([k, c]) => `${nameOf(k)} ${c[n].toLocaleString("en")}`).join(", "),
            `reference ≈ ${short(toValue(x))}, predicted ≈ ${short(predicted)} ${plot.unit}`,
            `largest error here: ${values.names[plot.worst[n]]}`,
          ],
        };
      })
      .sort((a, b) => b.size - a.size);
  }

  function activateScatter(svg, plot) {
    const density = plot.kind === "density";
    let targets = null;
    let current = -1;
    const ready = () => (targets ??= density ? hexagonTargets(plot) : pointTargets(plot));
    const usable = (t) => (density ? t.count() > 0 : visible(t.style));
    const clear = () => {
      tip.hidden = true;
      svg.querySelector(".ring")?.remove();
    };
    const mark = (target) => {
      element(svg, "circle", { class: "ring", cx: target.x, cy: target.y, r: density ? plot.width * 0.8 : 6 });
      show(target.lines(), ...toScreen(svg, target.x, target.y));
    };
    svg.addEventListener("pointermove", (event) => {
      const [x, y] = toImage(svg, event);
      let best = null;
      let nearest = density ? (plot.width * 0.75) ** 2 : 14 ** 2;
      for (const target of ready()) {
        const distance = (target.x - x) ** 2 + (target.y - y) ** 2;
        if (distance < nearest && usable(target)) {
          nearest = distance;
          best = target;
        }
      }
      best ? mark(best) : clear();
    });
    svg.addEventListener("pointerleave", clear);
    svg.addEventListener("blur", clear);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") clear();
      if (!step) return;
      event.preventDefault();
      const list = ready().filter(usable);
      if (!list.length) return;
      current = current < 0 ? 0 : (current + step + list.length) % list.length;
      mark(list[current]);
    });
  }

  function activateLines(svg, plot) {
    const [low, high, left, right, top, bottom] = plot.axis;
    const toX = plot.log
      ? (v) => left + (Math.log(v / low) / Math.log(high / low)) * (right - left)
      : (v) => left + ((v - low) / (high - low)) * (right - left);
    const toValue = plot.log
      ? (x) => low * (high / low) ** ((x - left) / (right - left))
      : (x) => low + ((x - left) / (right - left)) * (high - low);
    let at = null;
    const clear = () => {
      tip.hidden = true;
      svg.querySelector(".guide")?.remove();
    };
    const nearest = (list, value) => {
      let start = 0;
      let end = list.length - 1;
      while (end - start > 1) {
        const middle = (start + end) >> 1;
        if (list[middle] <= value) start = middle;
        else end = middle;
      }
      return Math.abs(list[end] - value) < Math.abs(list[start] - value) ? end : start;
    };
    const mark = (x) => {
      at = Math.max(left, Math.min(right, x));
      const value = toValue(at);
      const lines = plot.series
        .filter((s) => s.x.length && (s.name || visible(s.k)))
        .map((s) => [s.name || nameOf(s.k), s.y[nearest(s.x, value)]])
        .map(([name, y]) => `${name} ${short(y)} ${plot.yUnit}`.trim());
      const xText = plot.log ? short(value) : String(Math.round(value));
      element(svg, "line", { class: "guide", x1: at, x2: at, y1: top, y2: bottom });
      show([`${plot.xName} ${xText} ${plot.xUnit}`.trim(), ...lines], ...toScreen(svg, at, top + 30));
    };
    svg.addEventListener("pointermove", (event) => {
      const [x, y] = toImage(svg, event);
      x >= left && x <= right && y >= top && y <= bottom ? mark(x) : clear();
    });
    svg.addEventListener("pointerleave", clear);
    svg.addEventListener("blur", clear);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 6, ArrowLeft: -6 }[event.key];
      if (event.key === "Escape") clear();
      if (!step) return;
      event.preventDefault();
      mark(at === null ? left : at + step);
    });
  }

  for (const svg of document.querySelectorAll("svg[data-key]")) {
    const plot = values.plots[svg.dataset.key];
    if (plot) (plot.kind === "lines" ? activateLines : activateScatter)(svg, plot);
  }
  for (const input of document.querySelectorAll('input[name="show"]')) {
    input.addEventListener("change", () => {
      section.dataset.show = input.value;
    });
    if (input.checked) section.dataset.show = input.value;
  }

  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const mark = () => {
    let here = null;
    for (const part of document.querySelectorAll("main > section")) {
      if (part.getBoundingClientRect().top < 120) here = part.id;
    }
    for (const [id, link] of links) {
      link.classList.toggle("here", id === here);
      id === here ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
    }
  };
  document.addEventListener("scroll", mark, { passive: true });
  mark();

  const opened = [];
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.open = true;
      opened.push(part);
    }
  });
  window.addEventListener("afterprint", () => {
    while (opened.length) opened.pop().open = false;
  });
})();
