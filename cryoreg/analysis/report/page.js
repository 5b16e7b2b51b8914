"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("payload"), charts = read("charts");
  const find = (selector) => document.querySelector(selector);
  // No button of plotly's that would send the data anywhere.
  const buttons = [["toImage"], ["zoom2d", "pan2d", "select2d", "lasso2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]];
  const config = { responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtons: buttons };
  const scatter = find("#scatter"), card = find("#card"), sprite = find("#sprite");
  const state = { layout: 0, colour: null, selected: [] };

  // Plotly takes tags in text for formatting: names are shown as they are.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text) => (text.length > 26 ? text.slice(0, 25) + "…" : text);
  const value = (column, row) => { const c = data.colours[column]; return c && c.codes[row] >= 0 ? c.names[c.codes[row]] : null; };

  // Light and dark
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const themed = () => document.documentElement.dataset.theme;
  const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function themeLayout() {
    const axis = { gridcolor: colourOf("--line"), zerolinecolor: colourOf("--line"), linecolor: colourOf("--line") };
    return { layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
      font: { color: colourOf("--ink"), size: 12, family: "system-ui, sans-serif" },
      hoverlabel: { bgcolor: colourOf("--panel"), bordercolor: colourOf("--line"), font: { color: colourOf("--ink") } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colourOf("--soft"), activecolor: colourOf("--accent") },
      legend: { bgcolor: "rgba(0,0,0,0)" },
    } };
  }
  function drawCharts() {
    for (const [id, spec] of Object.entries(charts)) {
      const element = document.getElementById(id);
      for (const heat of spec.data.filter((trace) => trace.type === "heatmap")) heat.colorscale[0][1] = colourOf("--paper");
      if (element) Plotly.react(element, spec.data, { ...spec.layout, template: themeLayout() }, { ...config, displayModeBar: false });
    }
  }
  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    drawCharts();
    drawMap();
  }

  // Slices
  function drawSlice(canvas, row) {
    const { columns, pitch, tile } = data.sheet, [height, width] = tile;
    canvas.width = width;
    canvas.height = height;
    const top = Math.floor(row / columns) * pitch[0], left = (row % columns) * pitch[1];
    canvas.getContext("2d").drawImage(sprite, left, top, width, height, 0, 0, width, height);
    canvas.dataset.drawn = row;
    if (!canvas.parentElement.classList.contains("framed")) frame(canvas);
  }
  // A scale bar lies over every slice.
  function frame(canvas) {
    const box = document.createElement("span"), bar = document.createElement("i");
    box.className = "framed";
    canvas.replaceWith(box);
    bar.style.width = `${100 * data.bar.share}%`;
    add(bar, "b", data.bar.text);
    box.append(canvas, bar);
  }
  const add = (parent, kind, text) => { const made = document.createElement(kind); if (text != null) made.textContent = text; parent.append(made); return made; };

  // The map
  function traces() {
    const layout = data.layouts[state.layout], palette = data.palettes[themed()], many = data.ids.length > 2000;
    const trace = (rows, name, marker) => ({
      type: "scatter", mode: "markers", name, customdata: rows, hoverinfo: "none",
      x: rows.map((row) => layout.x[row]), y: rows.map((row) => layout.y[row]),
      marker: { size: many ? 5 : 8, opacity: 0.85, line: { width: many ? 0 : 0.5, color: colourOf("--paper") }, ...marker },
      unselected: { marker: { opacity: 0.12 } },
    });
    const all = data.ids.map((_, row) => row);
    if (state.colour === "confidence") {
      const bar = { title: { text: "confidence" }, thickness: 12, outlinewidth: 0 };
      return [trace(all, "confidence", { color: data.confidence, colorscale: "Cividis", cmin: 0, cmax: 1, colorbar: bar })];
    }
    const column = data.colours[state.colour];
    if (!column) return [trace(all, "subtomograms", { color: palette[0] })];
    const members = [...column.names.map(() => []), []];
    column.codes.forEach((code, row) => members[code < 0 ? column.names.length : code].push(row));
    const named = column.names.map((name, code) => trace(members[code], plain(short(name)), {
      color: palette[code % palette.length],
      symbol: data.symbols[Math.floor(code / palette.length) % data.symbols.length],
    })).filter((each) => each.customdata.length);
    const rest = members[column.names.length];
    return rest.length ? [...named, trace(rest, "unknown", { color: data.unknown, symbol: "circle-open" })] : named;
  }
  function drawMap() {
    const [across, up] = data.layouts[state.layout].axes;
    const umap = data.layouts[state.layout].name === "UMAP";  // whose axes have no meaning
    find("#umap-note").hidden = !umap;
    const axis = (title) => ({ title: { text: title }, zeroline: false, showgrid: !umap, showticklabels: !umap });
    const several = state.colour !== "confidence" && state.colour !== null;
    select([]);
    return Plotly.react(scatter, traces(), {
      template: themeLayout(), dragmode: "lasso", hovermode: "closest", hoverdistance: 12,
      margin: { l: 52, r: 16, t: 36, b: 44 }, height: 640, showlegend: several,
      legend: { itemsizing: "constant", title: { text: state.colour || "" } },
      xaxis: axis(across), yaxis: axis(up),
      uirevision: state.layout, selectionrevision: Math.random(),
    }, config);
  }
  function describe(row, element) {
    element.replaceChildren();
    add(element, "b", data.ids[row]);
    for (const [name] of Object.entries(data.colours)) {
      if (name !== "right or wrong" && value(name, row) !== null) add(element, "div", `${name}: ${value(name, row)}`);
    }
    if (data.confidence) add(element, "div", `confidence: ${(100 * data.confidence[row]).toFixed(0)} %`);
  }
  function hover(event) {
    const row = event.points[0].customdata, pointer = event.event || { clientX: 40, clientY: 40 };
    drawSlice(card.querySelector("canvas"), row);
    describe(row, card.querySelector("div"));
    card.hidden = false;
    const box = card.getBoundingClientRect(), gap = 18;
    const left = pointer.clientX + gap + box.width > innerWidth ? pointer.clientX - gap - box.width : pointer.clientX + gap;
    card.style.left = `${Math.max(4, left)}px`;
    card.style.top = `${Math.max(4, Math.min(pointer.clientY + gap, innerHeight - box.height - 4))}px`;
  }

  // Selection
  function select(rows) {
    state.selected = rows;
    find("#selected").textContent = rows.length ? `${rows.length} selected` : "nothing selected";
    for (const id of ["#csv", "#txt"]) find(id).disabled = !rows.length;
  }
  // What a spreadsheet would run as a formula begins with an apostrophe.
  const harmless = (cell) => (/^'*([=+@\t\r]|-(?![\d.]+$))/.test(cell) ? `'${cell}` : cell);
  const quoted = (cell) => (/[",\n\r]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell);
  // The columns of every table that cryoreg writes, in their order, as far as they are known here.
  function table(rows) {
    const files = data.files, columns = {
      id: (row) => data.ids[row],
      ...(files && { file: (row) => (files.codes[row] < 0 ? "" : files.names[files.codes[row]]), row: (row) => String(data.rows[row] ?? "") }),
    };
    for (const name of ["tomogram", "split", "label", "prediction", "cluster"]) if (data.colours[name]) columns[name] = (row) => value(name, row) ?? "";
    if (data.confidence) columns.confidence = (row) => String(data.confidence[row]);
    const head = Object.keys(columns), line = (row) => head.map((name) => columns[name](row));
    return [head, ...rows.map(line)].map((cells) => cells.map(harmless).map(quoted).join(",")).join("\n") + "\n";
  }
  function save(name, text, kind) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // Neighbours
  function tile(parent, row, query, cosine) {
    const figure = add(parent, "figure"), label = value("label", row), asked = value("label", query);
    const canvas = add(figure, "canvas");
    canvas.className = "slice";
    drawSlice(canvas, row);
    const caption = add(figure, "figcaption"), name = add(caption, "b", label ?? "no label");
    if (label !== null && asked !== null && label !== asked) { name.className = "other"; name.textContent = `${label} ≠`; }
    add(caption, "div", cosine == null ? "the query" : `cosine ${cosine.toFixed(2)}`);
    add(caption, "code", data.ids[row]);
  }
  function neighbours(parent, query) {
    parent.replaceChildren();
    tile(parent, query, query, null);
    data.neighbours[query].forEach((row, place) => tile(parent, row, query, data.cosine[query][place]));
  }
  function clicked(row) {
    const box = find("#clicked");
    box.replaceChildren();
    add(box, "h3", "chosen in the map");
    const query = add(box, "div");
    query.className = "query";
    neighbours(query, row);
    box.hidden = false;
  }

  function start() {
    const names = [...Object.keys(data.colours), ...(data.confidence ? ["confidence"] : [])];
    const menu = find("#colour");
    for (const name of names) add(menu, "option", name);
    menu.parentElement.hidden = !names.length;
    state.colour = names.includes(data.colour) ? data.colour : names[0] ?? null;
    if (state.colour) menu.value = state.colour;
    menu.addEventListener("change", () => { state.colour = menu.value; drawMap(); });
    for (const button of document.querySelectorAll("[data-layout]")) {
      button.addEventListener("click", () => {
        state.layout = Number(button.dataset.layout);
        for (const other of document.querySelectorAll("[data-layout]")) other.setAttribute("aria-pressed", String(other === button));
        drawMap();
      });
    }
    let wished = null;
    try { wished = localStorage.getItem("cryoreg-theme"); } catch { /* pages from files may have no storage */ }
    setTheme(wished ?? (dark.matches ? "dark" : "light"));
    find("#theme").addEventListener("click", () => {
      const next = themed() === "dark" ? "light" : "dark";
      try { localStorage.setItem("cryoreg-theme", next); } catch { /* likewise */ }
      setTheme(next);
    });
    dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
    let before = null;
    addEventListener("beforeprint", () => { before = themed(); setTheme("light"); });
    addEventListener("afterprint", () => { if (before) setTheme(before); });
    scatter.on("plotly_hover", hover);
    scatter.on("plotly_unhover", () => { card.hidden = true; });
    scatter.on("plotly_click", (event) => clicked(event.points[0].customdata));
    scatter.on("plotly_selected", (event) => select(event ? event.points.map((point) => point.customdata).sort((a, b) => a - b) : []));
    scatter.on("plotly_deselect", () => select([]));
    find("#csv").addEventListener("click", () => save("selected.csv", table(state.selected), "text/csv"));
    find("#txt").addEventListener("click", () => save("selected.txt", state.selected.map((row) => data.ids[row]).join("\n") + "\n", "text/plain"));
    for (const canvas of document.querySelectorAll("canvas[data-row]")) drawSlice(canvas, Number(canvas.dataset.row));
    for (const query of document.querySelectorAll("[data-query]")) neighbours(query, Number(query.dataset.query));
    document.documentElement.dataset.ready = "true";
  }
  sprite.decode().catch(() => {}).then(start);
})();
