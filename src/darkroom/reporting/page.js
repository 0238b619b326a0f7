"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Tables: each body is a configuration with its runs, and they are sorted as wholes.
  const shown = (cell) => cell === undefined ? "" : cell.dataset.v ?? cell.textContent.trim();
  for (const table of all("table")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const down = before === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (body) => shown(body.rows[0].cells[column]);
      const bodies = all("tbody", table).map((body, place) => ({ body, place, key: key(body) }));
      bodies.sort((a, b) => {
        if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "") || a.place - b.place;
        const order = numeric ? a.key - b.key : a.key.localeCompare(b.key, "en", { numeric: true });
        return (down ? -order : order) || a.place - b.place;
      });
      table.append(...bodies.map(({ body }) => body));
    }));
    for (const fold of all(".fold", table)) {
      const set = (open) => {
        fold.setAttribute("aria-expanded", open);
        all("tr.member", fold.closest("tbody")).forEach((row) => { row.hidden = !open; });
      };
      fold.addEventListener("click", () => set(fold.getAttribute("aria-expanded") !== "true"));
      if (all("tr.member", table).length > 24) set(false);
    }
  }

  // Charts: what lies under the mouse or the finger is read off the points themselves.
  const number = (value) => Math.abs(value) >= 1e4 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(4));
  const axis = (text) => {
    const [kind, ...rest] = text.split(" ");
    const [least, most, first, last] = rest.map(Number);
    const share = kind === "log"
      ? (value) => Math.log(value / least) / Math.log(most / least)
      : (value) => (value - least) / (most - least);
    return (value) => first + share(value) * (last - first);
  };
  const line = (strong, rest) => {
    const row = document.createElement("div");
    const name = document.createElement("b");
    name.textContent = strong;
    row.append(name, ` ${rest}`);
    return row;
  };
  for (const chart of all("svg.chart")) {
    const tip = chart.parentElement.querySelector(".tip");
    const cursor = chart.querySelector(".cursor");
    const joined = chart.dataset.joined === "1";
    const x = axis(chart.dataset.x), y = axis(chart.dataset.y);
    const series = all(".series", chart).map((group) => ({
      group, name: group.dataset.name,
      points: group.dataset.points.split(" ").map((point) => {
        const [a, b] = point.split(",").map(Number);
        return { a, b, x: x(a), y: y(b) };
      }),
    }));
    all("title", chart).forEach((title) => title.remove());  // the tip says more
    const leave = () => { tip.hidden = true; cursor.setAttribute("d", ""); };
    const move = (event) => {
      const box = chart.getBoundingClientRect();
      const scale = chart.viewBox.baseVal.width / box.width;
      const at = { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
      const far = (point) => joined ? Math.abs(point.x - at.x) : Math.hypot(point.x - at.x, point.y - at.y);
      const found = series.filter(({ group }) => !group.hasAttribute("hidden")).map(({ name, points }) => ({
        name, point: points.reduce((best, point) => far(point) < far(best) ? point : best),
      }));
      if (!found.length) return leave();
      const nearest = found.reduce((best, each) => far(each.point) < far(best.point) ? each : best).point;
      if (!joined && far(nearest) > 40) return leave();
      const near = found.filter(({ point }) => joined ? Math.abs(point.x - at.x) < 30 : point === nearest)
        .sort((a, b) => joined ? Math.abs(a.point.y - at.y) - Math.abs(b.point.y - at.y) : 0).slice(0, 8)
        .sort((a, b) => a.point.y - b.point.y);
      if (!near.length) return leave();
      const head = document.createElement("div");
      head.textContent = `${number(nearest.a)} ${chart.dataset.unit}`;
      tip.replaceChildren(head, ...near.map(({ name, point }) => line(number(point.b), name)));
      tip.hidden = false;
      cursor.setAttribute("d", joined ? `M${nearest.x} 14V260` : "");
      const within = chart.parentElement.getBoundingClientRect();
      const left = nearest.x / scale + box.left - within.left;
      tip.style.left = `${Math.max(4, left + 12 + tip.offsetWidth > within.width ? left - 12 - tip.offsetWidth : left + 12)}px`;
      tip.style.top = `${Math.max(4, at.y / scale + box.top - within.top - 16 - (at.y > 150 ? tip.offsetHeight : 0))}px`;
    };
    chart.addEventListener("pointermove", move);
    chart.addEventListener("pointerdown", move);
    chart.addEventListener("pointerleave", leave);
  }
  for (const button of all(".legend button")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      const style = button.dataset.style === "others" ? ".others" : `.s${button.dataset.style}`;
      all(`.chart .series${style}`, button.closest(".drawings")).forEach((group) => group.toggleAttribute("hidden", !on));
    });
  }

  // Sheets: the slider leafs through training.
  for (const slider of all(".steps")) {
    slider.hidden = false;
    const steps = slider.dataset.steps.split(",").map(Number);
    const figure = slider.closest("figure");
    const frames = all(".picture img", figure);
    const output = figure.querySelector("output");
    slider.addEventListener("input", () => {
      frames.forEach((frame, place) => { frame.hidden = place !== +slider.value; });
      output.textContent = `${steps[slider.value].toLocaleString("en")} images`;
      slider.setAttribute("aria-valuetext", output.textContent);
    });
  }

  // Pictures: a click enlarges, a click or Escape puts back.
  const large = document.getElementById("large");
  for (const button of all(".picture")) {
    button.addEventListener("click", () => {
      const picture = button.querySelector("img:not([hidden])");
      const enlarged = large.querySelector("img");
      enlarged.src = picture.src;
      enlarged.alt = picture.alt;
      large.querySelector("p").textContent = picture.alt;
      large.showModal();
    });
  }
  large.addEventListener("click", (event) => { if (event.target.tagName !== "P") large.close(); });
  large.addEventListener("close", () => large.querySelector("img").removeAttribute("src"));

  // The filter: rows and cards of runs that do not fit are put away.
  const filter = document.getElementById("filter");
  if (filter) {
    filter.closest(".filter").hidden = false;
    const cards = all(".run");
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let kept = 0;
      for (const card of cards) {
        const fits = words.every((word) => card.dataset.words.includes(word));
        card.hidden = !fits;
        kept += fits;
        const row = document.querySelector(`tr[data-run="${card.id.slice(4)}"]`);
        if (row) {
          row.classList.toggle("away", !fits);
          const body = row.parentElement;
          body.hidden = words.length > 0 && all("tr[data-run]", body).every((each) => each.classList.contains("away"));
        }
      }
      document.querySelector(".filter output").textContent = words.length ? `${kept} of ${cards.length}` : "";
    });
  }
  // A link to a run opens what hides it.
  const reveal = () => {
    for (let place = document.getElementById(location.hash.slice(1)); place; place = place.parentElement) {
      if (place.tagName === "DETAILS") place.open = true;
    }
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
