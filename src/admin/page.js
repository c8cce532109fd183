
"use strict";
// The page goes on by itself: times are counted here, and it is looked at anew when something is told to have
// happened, or every two seconds where nothing is told. Nothing but that is lost without scripts.
const by = (id) => document.getElementById(id);
const parts = new Map();
let readAt = performance.now(), heardAt = -Infinity, source = null, asking = false, again = false;

function span(seconds) {
  const [days, hours] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24];
  const [minutes, rest] = [Math.floor(seconds / 60) % 60, seconds % 60];
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min`
    : minutes ? `${minutes} min ${rest} s` : `${rest} s`;
}

function count() {
  const passed = Math.round((performance.now() - readAt) / 1000);
  for (const of of document.querySelectorAll("[data-left]"))
    of.textContent = span(Math.max(0, of.dataset.left - passed));
  for (const of of document.querySelectorAll("[data-since]"))
    of.textContent = span(+of.dataset.since + passed);
}

function tell(words, looks) {
  const state = by("state");
  // What is said once more would be read out once more.
  if (state.textContent !== words) state.textContent = words;
  state.className = `state ${looks}`;
  document.title = `gatepass: ${words}`;
}

function show(page) {
  const state = page.getElementById("state");
  const form = document.activeElement?.form?.getAttribute("action");
  for (const part of page.querySelectorAll("main > section, #about")) {
    const html = part.outerHTML;
    if (parts.get(part.id) === html) continue;
    parts.set(part.id, html);
    by(part.id).replaceWith(part);
  }
  if (form) document.querySelector(`form[action="${form}"] button`)?.focus({ preventScroll: true });
  tell(state.textContent, state.className.slice(6));
  readAt = performance.now();
}

async function look() {
  if (document.hidden) return;
  if (asking) { again = true; return; }
  asking = true;
  try {
    const answer = await fetch("/", { cache: "no-store" });
    show(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    tell("✗ gatepass does not answer", "bad");
  }
  asking = false;
  if (again) setTimeout(look, 200);
  again = false;
}

function heard() {
  heardAt = performance.now();
  look();
}

// Browsers have a handful of connections to each host: those that nobody sees are given back.
function listen() {
  source?.close();
  source = document.hidden ? null : new EventSource("/api/events");
  if (!source) return;
  source.onmessage = heard;
  source.addEventListener("heartbeat", heard);
  source.onerror = () => { heardAt = -Infinity; };
}

document.addEventListener("visibilitychange", () => { listen(); look(); });
document.addEventListener("submit", async (order) => {
  order.preventDefault();
  order.submitter.firstChild.textContent = "Asked …";
  // The answer leads back to this page.
  await fetch(order.target.action, { method: "POST", redirect: "manual" }).catch(() => {});
  look();
});
for (const part of document.querySelectorAll("main > section")) parts.set(part.id, part.outerHTML);
listen();
setInterval(count, 1000);
// Two heartbeats were missed, or nothing was ever heard.
setInterval(() => { if (performance.now() - heardAt > 11000) look(); }, 2000);
setInterval(() => { if (source?.readyState === EventSource.CLOSED) listen(); }, 30000);
