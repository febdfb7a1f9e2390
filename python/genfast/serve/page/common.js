"use strict";
const $ = (id) => document.getElementById(id);
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};

// --- parameters -----------------------------------------------------------------------------------

/** Number fields of the side: [name, label, step, least, most, value]. */
const addFields = (fields) => {
  for (const [name, label, step, min, max, value] of fields) {
    const input = addField(name, label, {type: "number", step, min, placeholder: "default"});
    if (max !== null) input.max = max;
    if (value !== undefined) input.value = value;
  }
};
const addField = (name, label, options) => {
  const field = make("label", "", label), input = make("input");
  field.append(Object.assign(input, {id: `p-${name}`, ...options}));
  $("fields").append(field);
  return input;
};
const numbers = (fields) => Object.fromEntries(
  fields.map(([name]) => [name, $(`p-${name}`).value]).filter(([, value]) => value !== "").map(([name, value]) => [name, Number(value)]));

// --- the server -----------------------------------------------------------------------------------

$("key").value = sessionStorage.getItem("key") ?? "";
$("key-field").hidden = !$("key").value;
$("key").addEventListener("change", () => { sessionStorage.setItem("key", $("key").value); about(); });
const call = async (path, body, signal) => {
  const headers = {};
  if (body) headers["Content-Type"] = "application/json";
  if ($("key").value) headers["Authorization"] = `Bearer ${$("key").value}`;
  const response = await fetch(path, {method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body)});
  if (response.status === 401) $("key-field").hidden = false;
  if (!response.ok) {
    const told = await response.json().catch(() => null);
    throw new Error(told?.error?.message ?? `${path}: ${response.status}`);
  }
  return response;
};

async function about() {
  try {
    const {data: [model]} = await (await call("/v1/models")).json();
    $("model").textContent = model.id;
    document.title = `genfast · ${model.id}`;
  } catch (error) {
    $("model").textContent = error.message;
  }
}
about();

// --- the page -------------------------------------------------------------------------------------

let running = null;  // what stops the request that runs
document.addEventListener("keydown", (event) => { if (event.key === "Escape") running?.abort(); });
const grow = (area) => { area.style.height = "auto"; area.style.height = `${area.scrollHeight + 2}px`; };
const open = (yes) => { $("side").hidden = !yes; $("toggle").setAttribute("aria-expanded", yes); };
$("toggle").addEventListener("click", () => open($("side").hidden));
open(innerWidth > 860);
