"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("screen and (max-width: 700px)");
  const shown = {};

  /** A figure in which names of CSS variables have become the colours that they are now. */
  function resolved(value, style) {
    if (typeof value === "string") {
      const name = /^var\((--[\w-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((one) => resolved(one, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, one]) => [key, resolved(one, style)])
    );
  }

  function draw(chart, width) {
    const style = getComputedStyle(document.documentElement);
    const figure = resolved(chart.figure, style);
    const view = chart.views[shown[chart.name] || 0];
    if (view) figure.data.forEach((trace, k) => (trace.visible = view.includes(k)));
    const layout = { ...figure.layout, autosize: width === undefined, width };
    // A finger that scrolls the page must not draw a box.
    layout.dragmode = narrow.matches ? false : "zoom";
    const config = {
      displaylogo: false,
      responsive: true,
      modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
      displayModeBar: narrow.matches ? false : "hover",
      toImageButtonOptions: { filename: chart.name, scale: 2 },
    };
    return Plotly.react(chart.name, figure.data, layout, config);
  }

  function drawAll(width) {
    charts.forEach((chart) => {
      const place = document.getElementById(chart.name);
      // On paper half of the width is half of it, too.
      const half = place.closest(".half") !== null && !narrow.matches;
      draw(chart, width === undefined ? undefined : half ? width / 2 - 18 : width);
    });
  }

  document.querySelectorAll(".views button").forEach((button) => {
    button.addEventListener("click", () => {
      const { chart: name, view } = button.dataset;
      shown[name] = Number(view);
      button.parentElement.querySelectorAll("button").forEach((other) => {
        other.setAttribute("aria-pressed", String(other === button));
      });
      draw(charts.find((chart) => chart.name === name));
    });
  });

  dark.addEventListener("change", () => drawAll());
  narrow.addEventListener("change", () => drawAll());
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.paper = "";
    drawAll(680);
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.paper;
    drawAll();
  });
  drawAll();
})();
