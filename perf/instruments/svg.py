"""Draws folded stacks as one SVG: a frame's width is its weight, its callers are below it. A click zooms, typing / searches."""

import html

WIDTH, ROW, MARGIN, HEAD, FONT = 1200, 17, 10, 58, 12
SMALLEST = 0.0008  # of the whole: narrower frames cannot be seen or hit
# By whose code it is; the first that fits.
COLOURS = [
    ("the kernel", "#e8923c", lambda name: name.endswith("_[k]")),
    ("runtime", "#5b9bd5", lambda name: "kringle_runtime" in name),
    ("log", "#c27bbd", lambda name: "kringle_log" in name or "crc32c" in name),
    ("protocol", "#d8b840", lambda name: "kringle_protocol" in name),
    ("broker", "#6fb86a", lambda name: "kringle" in name),
    ("libraries", "#a9b4bd", lambda name: True),
]
SCRIPT = """
const frames=[...document.querySelectorAll('g.f')],W=%d,M=%d;
const box=frames.map(g=>({x:+g.dataset.x,w:+g.dataset.w,d:+g.dataset.d,n:g.querySelector('title').textContent}));
function draw(z){frames.forEach((g,i)=>{const b=box[i],k=W/z.w;let x=(b.x-z.x)*k,w=b.w*k;
 if(b.d<z.d&&b.x<=z.x+1e-6&&b.x+b.w>=z.x+z.w-1e-6){x=0;w=W}
 const out=x>=W-1e-6||x+w<=1e-6||w<.3;g.style.display=out?'none':'';if(out)return;
 const r=g.firstElementChild,t=g.lastElementChild;r.setAttribute('x',M+x);r.setAttribute('width',w);t.setAttribute('x',M+x+3);
 const s=b.n.split(' (')[0],c=Math.floor((w-4)/6.6);t.textContent=c<3?'':s.length<=c?s:s.slice(0,c-1)+'\\u2026'})}
frames.forEach((g,i)=>g.onclick=()=>draw(box[i]));
document.getElementById('all').onclick=()=>draw(box[0]);
addEventListener('keydown',e=>{if(e.key!='/')return;e.preventDefault();const s=prompt('frames whose name contains');
 frames.forEach((g,i)=>g.firstElementChild.style.fill=s&&box[i].n.includes(s)?'#e0f':'')});
draw(box[0]);
"""


def tree(folded):
    """Nested [weight, children by name]."""
    root = [0, {}]
    for names, weight in folded.items():
        node = root
        node[0] += weight
        for name in names:
            node = node[1].setdefault(name, [0, {}])
            node[0] += weight
    return root


def frames(root):
    """(depth, left, weight, name) of every frame that can be seen."""
    found, waiting = [], [(0, 0, "all", root)]
    while waiting:
        depth, left, name, (weight, below) = waiting.pop()
        found.append((depth, left, weight, name))
        for child, node in sorted(below.items()):
            if node[0] >= SMALLEST * root[0]:
                waiting.append((depth + 1, left, child, node))
            left += node[0]
    return found


def draw(folded, title, facts, unit):
    """The picture. `unit` says what a weight is: samples, or us."""
    root = tree(folded)
    drawn = frames(root)
    height = HEAD + (max(depth for depth, *_ in drawn) + 1) * ROW + MARGIN + 22
    scale = WIDTH / max(root[0], 1)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 2 * MARGIN} {height}" font-family="ui-monospace,monospace" font-size="{FONT}">',
             '<style>rect{stroke:#fff;stroke-width:.6}g.f{cursor:pointer}g.f:hover rect{stroke:#000}text{pointer-events:none}</style>',
             f'<rect width="100%" height="100%" fill="#fff"/><text x="{MARGIN}" y="20" font-size="16" font-weight="bold">{html.escape(title)}</text>',
             f'<text x="{MARGIN}" y="38" fill="#555">{html.escape(facts)}</text>']
    for depth, left, weight, name in drawn:
        fill = next(colour for _, colour, fits in COLOURS if fits(name))
        top = height - 22 - MARGIN - (depth + 1) * ROW
        said = f"{name} ({weight:,} {unit}, {100 * weight / max(root[0], 1):.1f} %)"
        ident = ' id="all"' if depth == 0 else ""
        x, width = left * scale, weight * scale
        parts.append(f'<g class="f"{ident} data-x="{x:.2f}" data-w="{width:.2f}" data-d="{depth}"><title>{html.escape(said)}</title>'
                     f'<rect x="{MARGIN + x:.1f}" y="{top}" width="{width:.1f}" height="{ROW - 1}" fill="{fill}"/>'
                     f'<text x="{MARGIN + x + 3:.1f}" y="{top + FONT}">{html.escape(fitting(name, width))}</text></g>')
    at = MARGIN
    for label, colour, _ in COLOURS:
        parts.append(f'<rect x="{at}" y="{height - 18}" width="12" height="12" fill="{colour}"/><text x="{at + 16}" y="{height - 8}">{label}</text>')
        at += 40 + 7.5 * len(label)
    parts.append(f'<text x="{at + 20}" y="{height - 8}" fill="#555">click: zoom; click "all": back; /: search</text>')
    parts.append(f"<script><![CDATA[{SCRIPT % (WIDTH, MARGIN)}]]></script></svg>\n")
    return "\n".join(parts)


def fitting(name, width):
    """As much of a name as its frame has room for."""
    room = int((width - 4) / 6.6)
    return "" if room < 3 else name if len(name) <= room else name[:room - 1] + "…"
