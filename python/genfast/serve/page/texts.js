// --- parameters of texts --------------------------------------------------------------------------

const FIELDS = [
  ["temperature", "Temperature", 0.1, 0, 100], ["top_p", "Top p", 0.05, 0, 1],
  ["top_k", "Top k", 1, 0, null], ["min_p", "Min p", 0.05, 0, 1],
  ["repetition_penalty", "Repetition", 0.05, 0, 100], ["seed", "Seed", 1, 0, null],
  ["max_tokens", "Most tokens", 1, 1, null, 200],
];
addFields(FIELDS);
addField("stop", "Stop before", {placeholder: "\\n\\n", autocomplete: "off", spellcheck: false});
const parameters = () => {
  const stop = $("p-stop").value.replaceAll("\\n", "\n").replaceAll("\\t", "\t");
  return stop ? {...numbers(FIELDS), stop} : numbers(FIELDS);
};

async function* events(path, body, signal) {
  const response = await call(path, {...body, stream: true}, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "";;) {
    const {value, done} = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

// --- tokens ---------------------------------------------------------------------------------------

const utf8 = new TextEncoder();
/** The bytes of a token that completions tell as text: pieces of characters as bytes:\xe2… */
const bytesOf = (text) => text.startsWith("bytes:\\x")
  ? Uint8Array.from(text.match(/[0-9a-f]{2}/g), (digits) => parseInt(digits, 16)) : utf8.encode(text);
/** A choice's tokens in one form: {bytes, logprob, others: [[text, logprob], …]} */
const tokensOf = (choice) => {
  const told = choice.logprobs;
  if (!told) return [];
  if (told.content) return told.content.map((t) => ({
    bytes: Uint8Array.from(t.bytes), logprob: t.logprob, others: t.top_logprobs.map((o) => [o.token, o.logprob])}));
  return told.tokens.map((text, i) => ({
    bytes: bytesOf(text), logprob: told.token_logprobs[i], others: Object.entries(told.top_logprobs[i])}));
};

/** Writes tokens into a node; a character's bytes may come in several of them. */
class Writer {
  constructor(node) {
    Object.assign(this, {node, count: 0, sum: 0, text: "", decoder: new TextDecoder()});
  }
  write(token) {
    const text = this.decoder.decode(token.bytes, {stream: true});
    const p = Math.exp(token.logprob), span = make("span", "t", text);
    this.count += 1;
    this.sum += p;
    this.text += text;
    span.style.setProperty("--d", Math.min(1, -token.logprob / Math.log(1000)).toFixed(3));
    span.tabIndex = this.count === 1 ? 0 : -1;
    span.told = {text, p, others: token.others};
    this.node.append(span);
  }
}

const shown = (text) => text === "" ? "(part of a character)"
  : text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥");
const percent = (p) => p >= 0.0995 || p === 0 ? `${(100 * p).toFixed(0)}%` : `${(100 * p).toFixed(p < 0.001 ? 2 : 1)}%`;

const tell = (span) => {
  const {text, p, others} = span.told, tip = $("tip");
  const rows = others.map(([other, logprob]) => [other, Math.exp(logprob)]);
  if (!rows.some(([other, q]) => other === text || Math.abs(q - p) < 1e-9)) rows.push([text, p]);
  tip.replaceChildren(...rows.sort((a, b) => b[1] - a[1]).map(([other, q]) => {
    const row = make("div", other === text || Math.abs(q - p) < 1e-9 ? "chosen" : "");
    row.style.setProperty("--w", `${100 * q}%`);
    row.append(make("span", "", shown(other)), make("span", "", percent(q)));
    return row;
  }));
  tip.hidden = false;
  const box = span.getClientRects()[0] ?? span.getBoundingClientRect(), {offsetWidth: w, offsetHeight: h} = tip;
  tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - w - 8))}px`;
  tip.style.top = `${box.bottom + h + 12 < innerHeight ? box.bottom + 6 : box.top - h - 6}px`;
  span.setAttribute("aria-describedby", "tip");
};
const isToken = (event) => event.target.classList?.contains("t");
for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, (e) => { if (isToken(e)) tell(e.target); });
for (const kind of ["mouseout", "focusout"]) document.addEventListener(kind, (e) => { if (isToken(e)) $("tip").hidden = true; });
// A token that has the focus keeps its tip: the browser scrolls to it, and says so only afterwards.
// Under the mouse lies another one now.
document.addEventListener("scroll", () => {
  const focused = document.activeElement, tip = $("tip");
  if (tip.hidden) return;
  if (isToken({target: focused})) tell(focused);
  else tip.hidden = true;
}, true);
document.addEventListener("keydown", (event) => {
  if (!isToken(event)) return;
  const all = [...event.target.parentNode.children], at = all.indexOf(event.target);
  const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1}[event.key];
  if (to === undefined || !all[to]) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  all[to].tabIndex = 0;
  all[to].focus();
});

// --- generating -----------------------------------------------------------------------------------

const busy = (controller) => {
  running = controller;
  for (const [button, name] of [[$("ask").querySelector("button"), "Send"], [$("continue"), "Continue"]]) {
    button.textContent = controller ? "Stop" : name;
    button.classList.toggle("stop", Boolean(controller));
  }
  $("keep").disabled = Boolean(controller) || !$("sequel").textContent;
};

/** Streams into a node, with a line of figures below; gives the text. */
async function generate(path, body, node, note) {
  const controller = new AbortController(), writer = new Writer(node), start = performance.now();
  let first = null, reason = null;
  busy(controller);
  node.classList.add("waiting");
  try {
    for await (const event of events(path, body, controller.signal)) {
      const choice = event.choices[0];
      if (!choice) continue;
      const follow = node.closest("#log, #paper"), near = follow.scrollHeight - follow.scrollTop - follow.clientHeight < 80;
      for (const token of tokensOf(choice)) {
        first ??= performance.now();
        writer.write(token);
      }
      reason = choice.stop_reason ?? choice.finish_reason ?? reason;
      if (near) follow.scrollTop = follow.scrollHeight;
    }
  } catch (error) {
    if (error.name === "AbortError") reason = "stopped";
    else node.after(make("p", "error", error.message));
  } finally {
    node.classList.remove("waiting");
    busy(null);
  }
  if (writer.count) {
    const seconds = (performance.now() - first) / 1000;
    const parts = [`${writer.count} tokens`, `first after ${Math.round(first - start)} ms`];
    if (writer.count > 1) parts.push(`${((writer.count - 1) / seconds).toFixed(0)} a second`);
    parts.push(`${percent(writer.sum / writer.count)} sure on average`, reason ?? "");
    const copy = make("button", "", "Copy");
    copy.addEventListener("click", async () => { await navigator.clipboard.writeText(writer.text); copy.textContent = "Copied"; });
    note.replaceChildren(...parts.filter(Boolean).map((part) => make("span", "", part)), copy);
  }
  return writer.text;
}

const messages = [];
async function send() {
  const text = $("message").value.trim();
  if (!text) return;
  $("log").querySelector(".empty")?.remove();
  $("message").value = "";
  grow($("message"));
  const turn = make("div", "turn"), answer = make("div", "answer"), note = make("div", "note");
  turn.append(answer, note);
  $("log").append(make("div", "said", text), turn);
  $("log").scrollTop = $("log").scrollHeight;
  messages.push({role: "user", content: text});
  const system = $("system").value.trim();
  const asked = [...(system ? [{role: "system", content: system}] : []), ...messages];
  const made = await generate("/v1/chat/completions", {...parameters(), messages: asked, logprobs: true, top_logprobs: 6}, answer, note);
  if (made) messages.push({role: "assistant", content: made.trim()});
  else messages.pop();
  $("message").focus();
}

async function proceed() {
  $("sequel").replaceChildren();
  for (const node of $("paper").querySelectorAll(".note, .error")) node.remove();
  const note = make("div", "note");
  $("sequel").after(note);
  await generate("/v1/completions", {...parameters(), prompt: $("prompt").value, logprobs: 6}, $("sequel"), note);
}

for (const id of ["message", "prompt"]) $(id).addEventListener("input", () => grow($(id)));
$("ask").addEventListener("submit", (event) => { event.preventDefault(); running ? running.abort() : send(); });
$("continue").addEventListener("click", () => running ? running.abort() : proceed());
$("keep").addEventListener("click", () => {
  $("prompt").value += $("sequel").textContent;
  $("sequel").replaceChildren();
  $("paper").querySelector(".note")?.remove();
  busy(null);
  grow($("prompt"));
  $("prompt").focus();
});
for (const [id, go] of [["message", send], ["prompt", proceed]]) $(id).addEventListener("keydown", (event) => {
  const enter = event.key === "Enter" && !event.isComposing;
  if (!enter || (id === "message" ? event.shiftKey : !(event.ctrlKey || event.metaKey))) return;
  event.preventDefault();
  if (!running) go();
});

// --- the rest of the page -------------------------------------------------------------------------

const tabs = ["chat", "text"];
const select = (name) => {
  for (const tab of tabs) {
    $(tab).hidden = tab !== name;
    $(`tab-${tab}`).setAttribute("aria-selected", tab === name);
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  for (const tab of tabs) for (const node of document.querySelectorAll(`.for-${tab}`)) node.hidden = tab !== name;
  grow($("prompt"));
};
for (const tab of tabs) {
  $(`tab-${tab}`).addEventListener("click", () => select(tab));
  $(`tab-${tab}`).addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = tabs[1 - tabs.indexOf(tab)];
    select(other);
    $(`tab-${other}`).focus();
  });
}
const tint = () => { document.body.classList.toggle("tinted", $("tint").checked); $("scale").hidden = !$("tint").checked; };
$("tint").addEventListener("change", tint);
tint();

// --- figures --------------------------------------------------------------------------------------

const POINTS = 60, rates = Array(POINTS).fill(0);
let last = null;
async function figures() {
  if (document.hidden || $("side").hidden) return;
  const values = {}, now = performance.now();
  try {
    for (const line of (await (await call("/metrics")).text()).split("\n")) {
      const [name, value] = line.split(" ");
      if (name.startsWith("genfast_") && !name.includes("{")) values[name.slice(8)] = Number(value);
    }
  } catch { last = null; return; }
  const mean = (name) => values[`${name}_seconds_count`] ? 1000 * values[`${name}_seconds_sum`] / values[`${name}_seconds_count`] : null;
  const ms = (x) => x === null ? "–" : `${x < 10 ? x.toFixed(1) : Math.round(x)} ms`;
  const count = values.inter_token_seconds_count + values.time_to_first_token_seconds_count;
  if (last) {
    rates.push(Math.max(0, (count - last.count) / (now - last.now) * 1000));
    rates.shift();
  }
  last = {count, now};
  const top = Math.max(1, ...rates), points = rates.map((rate, i) => `${240 * i / (POINTS - 1)},${42 - 38 * rate / top}`).join("L");
  $("spark").querySelector(".line").setAttribute("d", `M${points}`);
  $("spark").querySelector(".area").setAttribute("d", `M0,44L${points}L240,44Z`);
  const rows = [
    ["Tokens a second", rates.at(-1).toFixed(0)],
    ["Running · waiting", `${values.requests_running} · ${values.requests_waiting}`],
    ["First token, mean", ms(mean("time_to_first_token"))],
    ["Between tokens, mean", ms(mean("inter_token"))],
    ["Memory pages", `${values.kv_pages_used} of ${values.kv_pages}`],
    ["Prompts from cache", percent(values.prefix_hit_ratio || 0)],
  ];
  $("figures").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
}
figures();
setInterval(figures, 1000);
$("message").focus();
