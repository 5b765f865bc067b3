// Shows the status anew every few seconds, and says so when the exporter does not answer.
"use strict";

const EVERY_MILLISECONDS = 5000;

// Only what is another: a screen reader is not told again what it has told.
function replace(shown, next) {
  const parts = [...shown.children];
  const nextParts = [...next.children];
  if (parts.length !== nextParts.length) {
    shown.replaceChildren(...nextParts);
    return;
  }
  parts.forEach((part, at) => {
    if (part.outerHTML !== nextParts[at].outerHTML) {
      part.replaceChildren(...nextParts[at].childNodes);
    }
  });
}

async function refresh() {
  if (document.hidden || String(document.getSelection()) !== "") {
    return;
  }
  const stale = document.getElementById("stale");
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) {
      throw new Error(`it answers ${answer.status}`);
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = page.getElementById("status");
    const scrolled = [...document.querySelectorAll(".scrolled")].map((table) => table.scrollLeft);
    const focused = [...document.querySelectorAll(".scrolled, a")].indexOf(document.activeElement);
    document.title = page.title;
    replace(document.getElementById("status"), next);
    document.querySelectorAll(".scrolled").forEach((table, at) => { table.scrollLeft = scrolled[at] ?? 0; });
    document.querySelectorAll(".scrolled, a")[focused]?.focus({ preventScroll: true });
  } catch (error) {
    stale.textContent = " \u2013 the exporter does not answer any more";
    document.title = "? planet-call-exporter";
  }
}

setInterval(refresh, EVERY_MILLISECONDS);
