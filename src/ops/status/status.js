// Shows the status anew every few seconds, and says so when the exporter does not answer.
"use strict";

const EVERY_MILLISECONDS = 5000;
const LONGEST_ANSWER_MILLISECONDS = 4000;

// Only what is another: a screen reader is not told again what it has told.
function replace(shown, next) {
  const parts = [...shown.children];
  const nextParts = [...next.children];
  if (parts.length !== nextParts.length) {
    shown.replaceChildren(...nextParts);
    return;
  }
  parts.forEach((part, at) => {
    if (part.outerHTML === nextParts[at].outerHTML) {
      return;
    }
    const [heard, nextHeard] = [part, nextParts[at]].map((one) => one.querySelector(".only-heard"));
    if (heard && nextHeard && heard.textContent === nextHeard.textContent) {
      // The very element that was there: another one with the same words might be read out again.
      nextHeard.replaceWith(heard);
    }
    part.replaceChildren(...nextParts[at].childNodes);
  });
}

function show(page) {
  const tables = () => [...document.querySelectorAll(".scrolled")];
  const focusable = () => [...document.querySelectorAll(".scrolled, a")];
  const scrolled = tables().map((table) => table.scrollLeft);
  const focused = focusable().indexOf(document.activeElement);
  replace(document.getElementById("status"), page.getElementById("status"));
  tables().forEach((table, at) => { table.scrollLeft = scrolled[at] ?? 0; });
  focusable()[focused]?.focus({ preventScroll: true });
}

async function refresh() {
  let told = "";
  try {
    const signal = AbortSignal.timeout(LONGEST_ANSWER_MILLISECONDS);
    const answer = await fetch(location.href, { cache: "no-store", signal });
    if (!answer.ok) {
      throw new Error(`it answers ${answer.status}`);
    }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = page.title;
    // Whoever copies something is to have the time for it.
    if (String(document.getSelection()) === "") {
      show(page);
    } else {
      told = "Not refreshed while text is selected";
    }
  } catch (error) {
    document.title = "? planet-call-exporter";
    told = "The exporter does not answer any more";
  }
  const stale = document.getElementById("stale");
  if (stale.textContent !== told) {
    stale.textContent = told;
  }
  setTimeout(refresh, EVERY_MILLISECONDS);
}

setTimeout(refresh, EVERY_MILLISECONDS);
