// Says of tables and pictures that are wider than their place that they scroll sideways.
"use strict";
(() => {
  const watcher = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const wide = target.closest(".wide");
      wide.classList.toggle("overflows", wide.scrollWidth > wide.clientWidth + 1);
    }
  });
  for (const wide of document.querySelectorAll(".wide")) {
    watcher.observe(wide);
    watcher.observe(wide.firstElementChild);
  }
})();
