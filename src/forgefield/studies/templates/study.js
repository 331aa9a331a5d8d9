"use strict";
(() => {
  document.documentElement.classList.add("js");
  const values = JSON.parse(document.getElementById("values").textContent);
  const tip = document.getElementById("tip");

  function show(svg, point) {
    let ring = svg.querySelector(".ring");
    if (!ring) {
      ring = document.createElementNS(svg.namespaceURI, "circle");
      ring.setAttribute("class", "ring");
      ring.setAttribute("r", "7");
      svg.append(ring);
    }
    ring.setAttribute("cx", point.x);
    ring.setAttribute("cy", point.y);
    tip.replaceChildren(
      ...point.lines.map((line, n) => {
        const part = document.createElement(n ? "div" : "strong");
        part.textContent = line;
        return part;
      }),
    );
    tip.hidden = false;
    const at = new DOMPoint(point.x, point.y).matrixTransform(svg.getScreenCTM());
    const left = Math.min(at.x + 14, window.innerWidth - tip.offsetWidth - 4);
    const above = at.y - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${above < 4 ? at.y + 16 : above}px`;
  }

  function hide(svg) {
    svg.querySelector(".ring")?.remove();
    tip.hidden = true;
  }

  for (const svg of document.querySelectorAll("svg[data-key]")) {
    const points = values[svg.dataset.key] ?? [];
    if (!points.length) continue;
    let current = -1;
    svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const near = points
        .map((p, n) => [Math.hypot(p.x - at.x, p.y - at.y), n])
        .reduce((a, b) => (b[0] < a[0] ? b : a));
      if (near[0] > 18) return hide(svg);
      current = near[1];
      show(svg, points[current]);
    });
    svg.addEventListener("pointerleave", () => hide(svg));
    svg.addEventListener("blur", () => hide(svg));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") hide(svg);
      if (!step) return;
      event.preventDefault();
      current = (current + step + points.length) % points.length;
      show(svg, points[current]);
    });
  }
})();
