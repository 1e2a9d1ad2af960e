"use strict";
// Shows the curves' values at the step under the pointer.
for (const svg of document.querySelectorAll("svg[data-x]")) {
  const numbers = (text) => text.split(" ").map(Number);
  const [x0, x1] = numbers(svg.dataset.x);
  const [y0, y1, logarithmic] = numbers(svg.dataset.y);
  const [left, top, width, height] = numbers(svg.dataset.plot);
  const curves = [...svg.querySelectorAll("path[data-name]")].map((path) => ({
    name: path.dataset.name,
    look: path.getAttribute("class"),
    points: path.getAttribute("d").slice(1).split("L").map((point) => point.split(",").map(Number)),
  }));
  const step = (x) => Math.round(x0 + ((x - left) / width) * (x1 - x0));
  const value = (y) => {
    const place = 1 - (y - top) / height;
    const found = logarithmic ? y0 * (y1 / y0) ** place : y0 + place * (y1 - y0);
    return svg.dataset.unit === "%" ? `${(found * 100).toFixed(1)} %` : `${Number(found.toPrecision(3))}`;
  };

  const line = document.createElementNS(svg.namespaceURI, "line");
  line.setAttribute("class", "pointer");
  line.setAttribute("y1", top);
  line.setAttribute("y2", top + height);
  const box = document.createElement("div");
  box.className = "values";
  box.hidden = true;
  svg.after(box);

  svg.addEventListener("pointermove", (event) => {
    const area = svg.getBoundingClientRect();
    const scale = area.width / svg.viewBox.baseVal.width;
    const x = Math.min(Math.max((event.clientX - area.left) / scale, left), left + width);
    const nearest = curves.map((curve) =>
      curve.points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best)),
    );
    const at = nearest.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best))[0];
    line.setAttribute("x1", at);
    line.setAttribute("x2", at);
    svg.append(line);
    box.replaceChildren(`step ${step(at).toLocaleString("en")}`);
    nearest.forEach((point, index) => {
      const row = document.createElement("div");
      const mark = document.createElement("i");
      mark.className = curves[index].look;
      row.append(mark, `${curves[index].name} `, Object.assign(document.createElement("b"), { textContent: value(point[1]) }));
      // Held-out data are measured less often.
      if (Math.abs(point[0] - at) > 3) row.append(` at ${step(point[0]).toLocaleString("en")}`);
      box.append(row);
    });
    const figure = svg.parentElement.getBoundingClientRect();
    const [beside, above] = [area.left - figure.left + at * scale, area.top - figure.top + top * scale];
    const right = (at - left) / width > 0.5;
    box.style.left = right ? "auto" : `${beside + 10}px`;
    box.style.right = right ? `${figure.width - beside + 10}px` : "auto";
    box.style.top = `${above}px`;
    box.hidden = false;
  });
  svg.addEventListener("pointerleave", () => {
    line.remove();
    box.hidden = true;
  });
}
