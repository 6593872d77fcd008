// Comfort only: every page works without it. Fresh numbers, times by the reader's clock, keys.
"use strict";

const PAGES = new Map([...document.querySelectorAll("[data-key]")].map((it) => [it.dataset.key, it]));
const CHORD_MS = 1500;

// Times

const zone = document.querySelector("[data-zone]");
const local = () => localStorage.getItem("times") === "local";

function showTimes(root) {
  for (const it of root.querySelectorAll("time[datetime]:not(.ago)")) {
    it.dataset.utc ??= it.textContent;
    const at = new Date(it.dateTime);
    // sv: 2026-04-16 09:42:00, as the page writes it.
    it.textContent = local() ? at.toLocaleString("sv") : it.dataset.utc;
    it.title = local() ? `${it.dataset.utc} UTC` : `${at.toLocaleString()} by your clock`;
  }
}

function offerZones() {
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!zone || !here || here === "UTC") return;
  const button = document.createElement("button");
  button.className = "quiet small";
  const label = () => {
    zone.firstChild.textContent = local() ? `Times are by your clock (${here}). ` : "All times are UTC. ";
    button.textContent = local() ? "Show UTC" : "Show mine";
  };
  button.addEventListener("click", () => {
    localStorage.setItem("times", local() ? "utc" : "local");
    label();
    showTimes(document);
  });
  zone.append(button, " ");
  label();
}

// Fresh numbers: while somebody looks, and has nothing open or chosen there.

function refresh() {
  const place = document.querySelector("[data-refresh]");
  if (!place) return;
  const again = () => setTimeout(refresh, 1000 * Number(place.dataset.refresh));
  const busy = place.contains(document.activeElement) || !getSelection().isCollapsed || place.querySelector("details[open]");
  if (document.hidden || busy) return void again();
  fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" })
    .then(async (answer) => {
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("[data-refresh]");
      if (fresh) {
        place.replaceChildren(...fresh.childNodes);
        document.title = page.title;
        showTimes(place);
      }
      place.classList.remove("stale");
    })
    .catch(() => place.classList.add("stale"))
    .finally(again);
}

// Keys

let before = "";

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("find")?.select();
  } else if (before === "g" && PAGES.has(event.key)) {
    PAGES.get(event.key).click();
  } else {
    before = event.key;
    setTimeout(() => { before = ""; }, CHORD_MS);
  }
});

showTimes(document);
offerZones();
const place = document.querySelector("[data-refresh]");
if (place) setTimeout(refresh, 1000 * Number(place.dataset.refresh));
