// --- images ---------------------------------------------------------------------------------------

const FIELDS = [
  ["n", "Images", 1, 1, 10], ["steps", "Steps", 1, 1, null], ["guidance_scale", "Guidance", 0.5, 0, null],
  ["seed", "Seed", 1, 0, null],
];
addFields(FIELDS);
addField("size", "Size", {placeholder: "the model's own", pattern: "[0-9]+x[0-9]+", autocomplete: "off", spellcheck: false});

const busy = (controller) => {
  running = controller;
  const button = $("draw").querySelector("button");
  button.textContent = controller ? "Stop" : "Draw";
  button.classList.toggle("stop", Boolean(controller));
};

const picture = (data, scene, index) => {
  const link = make("a"), image = make("img"), source = `data:image/png;base64,${data}`;
  Object.assign(image, {src: source, alt: scene});
  Object.assign(link, {href: source, download: `${scene.replace(/\W+/g, "-").slice(0, 40) || "image"}-${index + 1}.png`, title: "Save"});
  link.append(image);
  return link;
};

async function draw() {
  const scene = $("scene").value.trim(), negative = $("negative").value.trim(), size = $("p-size").value.trim();
  if (!scene) return;
  $("sheet").querySelector(".empty")?.remove();
  const turn = make("div", "turn"), row = make("div", "pictures waiting"), note = make("div", "note");
  turn.append(row, note);
  $("sheet").append(make("div", "said", scene), turn);
  $("sheet").scrollTop = $("sheet").scrollHeight;
  const body = {...numbers(FIELDS), prompt: scene};
  if (negative) body.negative_prompt = negative;
  if (size) body.size = size;
  const controller = new AbortController(), start = performance.now();
  const clock = setInterval(() => { note.textContent = `${Math.round((performance.now() - start) / 1000)} s`; }, 1000);
  busy(controller);
  try {
    const {data} = await (await call("/v1/images/generations", body, controller.signal)).json();
    row.append(...data.map((item, index) => picture(item.b64_json, scene, index)));
    note.textContent = `${((performance.now() - start) / 1000).toFixed(1)} s`;
  } catch (error) {
    note.textContent = error.name === "AbortError" ? "stopped" : "";
    if (!note.textContent) row.after(make("p", "error", error.message));
  } finally {
    clearInterval(clock);
    row.classList.remove("waiting");
    busy(null);
    $("sheet").scrollTop = $("sheet").scrollHeight;
    $("scene").focus();
  }
}

$("scene").addEventListener("input", () => grow($("scene")));
$("draw").addEventListener("submit", (event) => { event.preventDefault(); running ? running.abort() : draw(); });
$("scene").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing || event.shiftKey) return;
  event.preventDefault();
  if (!running) draw();
});
$("scene").focus();
