"use strict";
(() => {
  document.documentElement.classList.add("js");
  const values = JSON.parse(document.getElementById("values").textContent);
  const tip = document.getElementById("tip");
  const REACH = { mouse: 14, touch: 30, pen: 20 }; // of a pointer on the screen [pixels]
  let shown = null;

  function show(svg, titles, [x, y, label, where, value]) {
    if (shown && shown !== svg) hide();
    let ring = svg.querySelector(".ring");
    if (!ring) {
      ring = document.createElementNS(svg.namespaceURI, "circle");
      ring.setAttribute("class", "ring");
      ring.setAttribute("r", "7");
      svg.append(ring);
    }
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    tip.replaceChildren(
      ...[label, `${titles[0]}: ${where}`, `${titles[1]}: ${value}`].map((line, n) => {
        const part = document.createElement(n ? "div" : "strong");
        part.textContent = line;
        return part;
      }),
    );
    tip.hidden = false;
    shown = svg;
    const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
    const left = Math.min(at.x + 14, document.documentElement.clientWidth - tip.offsetWidth - 4);
    const above = at.y - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${above < 4 ? at.y + 16 : above}px`;
  }

  function hide() {
    shown?.querySelector(".ring")?.remove();
    shown = null;
    tip.hidden = true;
  }

  for (const svg of document.querySelectorAll("svg[data-key]")) {
    const { titles, points } = values[svg.dataset.key] ?? { titles: [], points: [] };
    if (!points.length) continue;
    let current = -1;
    const point = (event) => {
      const matrix = svg.getScreenCTM();
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      let near = Infinity;
      let found = -1;
      points.forEach(([x, y], n) => {
        const distance = Math.hypot(x - at.x, y - at.y) * matrix.a;
        if (distance < near) [near, found] = [distance, n];
      });
      if (near > (REACH[event.pointerType] ?? REACH.mouse)) return hide();
      current = found;
      show(svg, titles, points[current]);
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    // A finger that is lifted leaves too: what it touched stays until the next touch elsewhere.
    svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
    svg.addEventListener("blur", () => shown === svg && hide());
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      current = (current + step + points.length) % points.length;
      show(svg, titles, points[current]);
    });
  }
  document.addEventListener("pointerdown", (event) => {
    if (shown && !shown.contains(event.target)) hide();
  });
  document.addEventListener("scroll", () => shown && hide(), { passive: true, capture: true });
})();
