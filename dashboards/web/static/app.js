// Two comforts; every page works without them: a choice is sent as soon as it is made, and a page stays right while a sweep moves on.
"use strict";

const PAUSE = 4000;
const WAITING = 300; // while the page says that something is being worked out

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-auto]");
  if (form && event.target.matches("select")) form.requestSubmit();
});

// what is empty needs no place in an address
document.addEventListener("submit", (event) => {
  for (const field of event.target.querySelectorAll("input[name], select[name]")) {
    if (field.value === "" && !field.disabled) {
      field.disabled = true;
      setTimeout(() => { field.disabled = false; });
    }
  }
});

function remembered(main) {
  return {
    open: [...main.querySelectorAll("details[open][id]")].map((one) => one.id),
    boxes: [...main.querySelectorAll("input[type=checkbox]")].map((one) => [one.name, one.value, one.checked]),
    focus: document.activeElement && document.activeElement.id,
    scrolled: [...main.querySelectorAll(".scroll[id]")].map((one) => [one.id, one.scrollLeft, one.scrollTop]),
  };
}

function restore(main, kept) {
  for (const id of kept.open) { const one = document.getElementById(id); if (one) one.open = true; }
  for (const [name, value, on] of kept.boxes) {
    const one = main.querySelector(`input[type=checkbox][name="${CSS.escape(name)}"][value="${CSS.escape(value)}"]`);
    if (one) one.checked = on;
  }
  for (const [id, left, top] of kept.scrolled) { const one = document.getElementById(id); if (one) one.scrollTo(left, top); }
  if (kept.focus) { const one = document.getElementById(kept.focus); if (one) one.focus({ preventScroll: true }); }
}

function writing(main) {
  const active = document.activeElement;
  return main.contains(active) && active.matches("input[type=text], input[type=search], input:not([type]), select");
}

async function renew() {
  const main = document.querySelector("main[data-version]");
  const note = document.getElementById("live");
  if (!main || document.hidden || writing(main)) return;
  try {
    const answer = await fetch(location.href, { headers: { "X-Version": main.dataset.version }, credentials: "same-origin" });
    note.textContent = answer.ok ? "live" : `the server answers ${answer.status}`;
    if (answer.status !== 200) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    if (!fresh || writing(main)) return;
    const kept = remembered(main);
    main.replaceWith(document.importNode(fresh, true));
    restore(document.querySelector("main"), kept);
  } catch (error) {
    note.textContent = "no connection: what you see may be old";
  }
}

function again() {
  setTimeout(async () => { await renew(); again(); }, document.querySelector("main[data-waiting]") ? WAITING : PAUSE);
}

if (document.querySelector("main[data-version]")) again();
