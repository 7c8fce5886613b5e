// The choice of a command and of its phase, where the profile has its weights by command.

const commands = profile.commands?.list ?? [];
for (const command of commands) {
  for (const part of command.parts) part.weight = part.places.reduce((sum, value, at) => at % 2 === 1 ? sum + exact(value) : sum, nothing);
  command.weight = command.parts.reduce((sum, part) => sum + part.weight, nothing);
}
const allWeight = listedBoxes.weights[0];

// A share, and where it is one of samples the interval that has the true one in 19 of 20 cases (Wilson's).
function shareText(part, whole) {
  if (!profile.commands.sampled) return percent(part, whole);
  const samples = Number(whole) / 10 ** profile.decimals, share = Number(part) / Number(whole), z = 1.96;
  const scale = 1 + z * z / samples, middle = (share + z * z / 2 / samples) / scale;
  const half = z / scale * Math.sqrt(share * (1 - share) / samples + z * z / 4 / samples / samples);
  const digits = half >= 0.01 ? 0 : half >= 0.001 ? 1 : 2;
  const [low, at, high] = [middle - half, share, middle + half].map((value) => Math.abs(value * 100).toFixed(digits));
  return `${at} % (${low} to ${high})`;
}
const callsText = (command) => command.calls === undefined ? "" : `, ${command.calls.toLocaleString("en-US")} ${command.calls === 1 ? "call" : "calls"}`;
const partsOf = (command, phase) => commands[command].parts.filter((part) => phase === "" || part.phase === phase);
// What the chosen stacks have of all stacks.
function shareOfAll() {
  return `${profile.names[0]} ${shareText(total[0], allWeight)} of ${weight(allWeight)} ${unit}${view.phase ? "" : callsText(commands[view.command])}`;
}

const commandSelect = html("select", { "aria-label": "Command whose stacks are shown" }, choices);
const phaseSelect = html("select", { "aria-label": "Phase of the command", hidden: "" }, choices);
function option(select, value, text) { html("option", { value }, select).textContent = text; }
choices.hidden = commands.length === 0;
option(commandSelect, -1, `all commands, ${weight(allWeight)} ${unit}`);
commands.forEach((command, index) => {
  option(commandSelect, index, `${command.name} ${shareText(command.weight, allWeight)}, ${weight(command.weight)} ${unit}${callsText(command)}`);
});

const legendTexts = [...legend.querySelectorAll("rect")].map((swatch) => [swatch.getAttribute("class")[0], swatch.nextElementSibling]);
const legendOfAll = legendTexts.map(([, text]) => text.textContent);

// Shows the stacks of a command by its number, of one of its phases or of all; of all commands for -1.
function choose(command, phase) {
  if (command === view.command && phase === view.phase) return;
  Object.assign(view, { command, phase, zoom: 0 });
  focused = -1;
  focusShown = false;
  const parts = command < 0 ? null : partsOf(command, phase);
  profile.names[0] = command < 0 ? "all" : commands[command].name + (phase && " " + phase);
  showParts(parts);
  commandSelect.value = command;
  phaseSelect.textContent = "";
  const phases = command < 0 ? [] : commands[command].parts.filter((part) => part.phase);
  option(phaseSelect, "", "all phases");
  for (const part of phases) option(phaseSelect, part.phase, `${part.phase} ${shareText(part.weight, commands[command].weight)}`);
  phaseSelect.value = phase;
  phaseSelect.hidden = phases.length < 2;
  const kinds = Object.keys(profile.kinds);
  legendTexts.forEach(([kind, text], index) => {
    const ends = parts?.reduce((sum, part) => sum + exact(part.kinds[kinds.indexOf(kind)]), nothing);
    text.textContent = parts ? `${profile.kinds[kind]} ${percent(ends, total[0])}` : legendOfAll[index];
  });
}
