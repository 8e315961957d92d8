"use strict";
// Values under the pointer, or under a cursor that the arrow keys move, for every panel of curves.
for (const figure of document.querySelectorAll("figure.chart")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg"), cursor = svg.querySelector(".cursor");
  const readout = figure.querySelector(".readout"), names = readout.innerHTML;
  const left = 50, right = svg.viewBox.baseVal.width - 10;
  const steps = [...new Set(data.lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  let place = -1;

  const nearest = (values, wanted) => {
    let best = 0;
    values.forEach((value, n) => {
      if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = n;
    });
    return best;
  };

  const show = (n) => {
    place = n;
    const x = left + ((steps[n] - data.reach[0]) / (data.reach[1] - data.reach[0])) * (right - left);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.removeAttribute("hidden");
    readout.textContent = `step ${Math.round(steps[n])}  `;
    for (const line of data.lines) {
      const part = document.createElement("span"), key = document.createElement("span");
      key.className = `key run-${line.run % 8}`;
      const own = nearest(line.steps, steps[n]);
      part.append(key, `${line.label} ${line.values[own]}`);
      readout.append(part);
    }
  };

  const clear = () => {
    cursor.setAttribute("hidden", "");
    readout.innerHTML = names;
    place = -1;
  };

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const step = data.reach[0] + ((x - left) / (right - left)) * (data.reach[1] - data.reach[0]);
    show(nearest(steps, step));
  });
  svg.addEventListener("pointerleave", clear);
  svg.addEventListener("blur", clear);
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    show(Math.min(Math.max(place + move, 0), steps.length - 1));
  });
}
