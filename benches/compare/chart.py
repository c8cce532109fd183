"""The results as a picture: what gatepass costs beside each of the others, who cost 1."""

ROWS = ["get", "post", "tls", "h2c", "close", "two", "down", "up"]
COLOURS = {"gatepass": "#0f766e", "nginx": "#94a3b8", "haproxy": "#64748b", "envoy": "#334155"}
WIDTH, LEFT, BAR, GAP = 760, 230, 12, 16


def draw(results, names):
    """Bars of the CPU time per request, each row in parts of nginx's."""
    rows = [results[row] for row in ROWS if row in results]
    height = 64 + len(rows) * (len(names) * BAR + GAP)
    longest = max(row["median"][name] / row["median"]["nginx"] for row in rows for name in names)
    scale = (WIDTH - LEFT - 90) / longest
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="CPU time per request beside nginx, HAProxy and Envoy" '
        f'font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="22" font-size="14" font-weight="600" fill="#0f172a">'
        "CPU time per request (nginx = 1; less is better)</text>",
    ]
    for index, name in enumerate(names):
        x = 12 + index * 100
        parts.append(f'<rect x="{x}" y="34" width="10" height="10" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{x + 15}" y="43" fill="#334155">{name}</text>')
    y = 60
    for row in rows:
        middle = y + len(names) * BAR / 2 + 4
        parts.append(f'<text x="12" y="{middle}" fill="#0f172a">{row["title"]}</text>')
        for name in names:
            ratio = row["median"][name] / row["median"]["nginx"]
            width = ratio * scale
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[name]}"/>'
            )
            label = f'{ratio:.2f} ({row["median"][name]:.0f} µs)'
            parts.append(f'<text x="{LEFT + width + 5:.1f}" y="{y + 9}" fill="#334155">{label}</text>')
            y += BAR
        y += GAP
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
