// Behind the module in the same script: a policy that lets a page run what stands in it may forbid to load what it makes.
{
  const state = "@STATE@", style = "@STYLE@", name = "@HOST@";
  // a stand-in for the widget's model; the picture is replaced only when the module runs
  const heard = {};
  const model = {
    get: key => state[key],
    set(key, value) { if (state[key] !== value) { state[key] = value; (heard["change:" + key] || []).forEach(each => each()); } },
    on(event, each) { (heard[event] ||= []).push(each); },
    off(event, each) { heard[event] = (heard[event] || []).filter(other => other !== each); },
    save_changes() {}, send() {},
  };
  const host = document.getElementById(name), root = host.attachShadow({ mode: "open" });
  const sheet = document.createElement("style"), el = document.createElement("div");
  sheet.textContent = style;
  root.append(sheet, el);
  widget().render({ model, el });
}
