"""The plot for README.md: what each server costs, as multiples of the floor, by gnuplot."""
import shutil
import subprocess

COLORS = {"sallyport": "#0b6e4f", "microsocks": "#c8963e", "dante": "#8a8d91"}
SHOWN = 8  # times the floor; what is beyond it has its number in its bar
NUMBER = 0.55  # the width of a number: where the line at 1 would cross it, it stands beyond the line

SCRIPT = """set terminal svg size 900,{height} font "sans-serif,13" background "#ffffff"
set title "{title}" noenhanced
set style fill solid noborder
set xrange [0:{shown}]
set yrange [{bottom}:-0.6]
set xlabel "CPU for a unit of work, times the floor's (cut at {shown})"
set xtics 1 nomirror
set ytics ({tics}) nomirror scale 0 noenhanced
set grid xtics lc rgb "#dddddd"
set border 1
set key outside top right horizontal
set arrow from 1,-0.6 to 1,{bottom} nohead lc rgb "#444444" dt 2 front
set label "1 = the floor" at 1,-0.6 left offset 0.3,0.6 font "sans-serif,10" tc rgb "#444444"
set boxwidth {width}
"""


def script(ratios, title, names):
    """A row of bars for each work: gnuplot's own histograms stand upright, so the bars are drawn as boxes of their own."""
    width = 0.8 / len(names)
    works = [w for w, of in ratios.items() if of]
    yield SCRIPT.format(height=110 + 16 * len(works) * len(names), title=title, shown=SHOWN, bottom=len(works) - 0.4, width=width,
                        tics=", ".join(f'"{w}" {i}' for i, w in enumerate(works)))
    plots, data = [], []
    for k, name in enumerate(names):
        plots.append(f'"-" using 1:2:3:4:5:6 with boxxyerror lc rgb "{COLORS.get(name, "#555555")}" title "{name}"')
        plots.append('"-" using 1:2:3 with labels left offset 0.3,0 font "sans-serif,10" notitle')
        plots.append('"-" using 1:2:3 with labels right offset -0.5,0 font "sans-serif,10" tc rgb "white" notitle')
        bars, labels, inside = [], [], []
        for i, w in enumerate(works):
            if name in ratios[w]:
                ratio, y = ratios[w][name], i + (k - (len(names) - 1) / 2) * width
                end = min(ratio, SHOWN)
                bars.append(f"0 {y} 0 {end} {y - width / 2.2} {y + width / 2.2}")
                at = max(end, 1) if end > 1 - NUMBER else end
                (labels if ratio < SHOWN - 0.5 else inside).append(f'{at} {y} "{ratio:.2f}"')
        data += ["\n".join([*block, "e"]) for block in (bars, labels, inside)]
    yield "plot " + ", ".join(plots) + "\n" + "\n".join(data) + "\n"


def write(ratios, title, paths):
    """Whether there was anything to show."""
    names = [n for n in COLORS if any(n in of for of in ratios.values())]
    if not names:
        return False
    svg = subprocess.run(["gnuplot"], input="".join(script(ratios, title, names)), capture_output=True, text=True, check=True).stdout
    with open(paths[0], "w") as f:
        f.write(svg)
    for path in paths[1:]:
        shutil.copy(paths[0], path)
    return True
