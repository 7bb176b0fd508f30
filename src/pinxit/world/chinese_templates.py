"""The Chinese sentences: templates for every kind of plan, the plainest of each first.

{a}, {b} ... are noun phrases of the parts, {n} the first without its number, {} a whole inner sentence.
"""

from __future__ import annotations

from pinxit.world.scene import RelationName

ONE: tuple[str, ...] = ("{a}", "一张{n}的图片", "图中有{a}", "这是{a}", "画面上是{a}")
MANY: tuple[str, ...] = ("{a}", "一张有{a}的图片", "图中有{a}", "这里有{a}", "画面上是{a}")
AND: tuple[str, ...] = ("{a}和{b}", "{b}和{a}", "图中有{a}和{b}", "{a}与{b}在一起", "画面上是{a}和{b}")
# The upper half as it is, the lower in a style; {s} is the style as a noun.
PAIR: tuple[str, ...] = (
    "上面是{a}，下面是同样的{n}的{s}",
    "{a}，下方是它的{s}",
    "上方是{a}，下方是它的{t}",
    "{a}在上面，同样的{n}的{s}在下面",
)
STYLE_NOUNS: dict[str, tuple[str, str]] = {
    "pencil sketch": ("素描", "铅笔素描"),
    "watercolour": ("水彩", "水彩画"),
    "pixel art": ("像素画", "像素图"),
    "silhouette": ("剪影", "黑色剪影"),
    "blueprint": ("蓝图", "蓝图线稿"),
    "neon": ("霓虹灯", "霓虹灯图案"),
    "old photograph": ("老照片", "旧照片"),
    "folded from paper": ("折纸", "折纸作品"),
}
STYLED: dict[str, tuple[str, ...]] = {
    "pencil sketch": ("{}的铅笔素描", "{}的素描", "用铅笔画的{}", "一张{n}的素描", "铅笔画的{}"),
    "watercolour": ("{}的水彩画", "水彩画：{}", "用水彩画的{}", "一幅画着{}的水彩画", "水彩风格的{}"),
    "pixel art": ("{}的像素画", "像素画：{}", "像素风格的{}", "一幅画着{}的像素画", "用像素画的{}"),
    "silhouette": ("{}的剪影", "{}的黑色剪影", "剪影：{}", "一张{}的剪影图", "只有黑色轮廓的{}"),
    "blueprint": ("{}的蓝图", "蓝图：{}", "画在蓝图上的{}", "蓝底白线的{}", "一张{}的蓝图"),
    "neon": ("{}的霓虹灯", "霓虹灯：{}", "霓虹灯做成的{}", "发光的霓虹灯{}", "霓虹风格的{}"),
    "old photograph": ("{}的老照片", "老照片：{}", "一张{}的旧照片", "旧照片里的{}", "泛黄的照片里有{}"),
    "folded from paper": ("用纸折成的{}", "折纸：{}", "{}的折纸", "折纸做的{}", "用纸折的{}"),
}
VIEWED: dict[str, tuple[str, ...]] = {
    "close-up": ("{}的特写", "特写：{}", "近距离看{}", "{}的近景", "一张{}的特写图片"),
    "from afar": ("远处的{}", "从远处看{}", "{}在远处", "远景：{}", "远远的{}"),
    "upside down": ("{q}倒过来的{n}", "{q}上下颠倒的{n}", "{}倒立着", "{}倒过来了", "{q}倒立的{n}"),
    "fisheye": ("鱼眼镜头里的{}", "透过鱼眼镜头看{}", "鱼眼镜头：{}", "{}的鱼眼照片", "圆形鱼眼画面里的{}"),
    "cross-section": ("{}的横截面", "切开的{}", "{}的剖面图", "{}切成两半", "{}的内部"),
}
LIT: dict[str, tuple[str, ...]] = {
    "sunrise": ("日出时的{}，影子很长", "日出时的{}", "清晨阳光下的{}", "{}在日出的光里", "朝阳下的{}"),
    "rain": ("雨中的{}", "{}在雨中", "下雨天的{}", "下着雨，{}", "雨天里有{}"),
    "snowfall": ("飘雪中的{}", "{}在飘落的雪中", "下雪天的{}", "下着雪，{}", "雪天里有{}"),
}
WRITTEN: tuple[str, ...] = ("{q}写着{w}的{n}", "{a}，上面写着{w}", "{a}上写着{w}", "{a}上有{w}这个词", "写着{w}的{n}")
SAME_NAME: tuple[str, ...] = (
    "三个叠在一起的{p}，{x}在上，{y}在中间，{z}在下",
    "一摞{p}，上面是{x}，中间是{y}，下面是{z}",
    "{a}在{b}上面，{b}在{c}上面",
    "从上到下是{a}、{b}和{c}",
    "三个{p}叠在一起，从上到下是{x}、{y}和{z}",
)
# Several relations at once; {a} to {d} are the parts in order.
CHAINED: dict[tuple[RelationName, ...], tuple[str, ...]] = {
    ("on top of", "on top of"): (
        "{a}在{b}上面，{b}在{c}上面",
        "从上到下是{a}、{b}和{c}",
        "{a}、{b}和{c}从上到下叠在一起",
        "上面是{a}，中间是{b}，下面是{c}",
        "{c}上面有{b}，再上面有{a}",
    ),
    ("riding", "left of", "riding"): (
        "{a}骑着{b}，旁边{c}骑着{d}",
        "左边{a}骑着{b}，右边{c}骑着{d}",
        "{a}骑着{b}，右边{c}骑着{d}",
        "{a}骑在{b}身上，旁边{c}骑在{d}身上",
        "右边{c}骑着{d}，左边{a}骑着{b}",
    ),
}
RELATED: dict[RelationName, tuple[str, ...]] = {
    "left of": ("{a}在{b}的左边", "{a}在{b}左侧", "{b}的左边有{a}", "左边是{a}，右边是{b}", "{a}在左边，{b}在右边"),
    "right of": ("{a}在{b}的右边", "{a}在{b}右侧", "{b}的右边有{a}", "右边是{a}，左边是{b}", "{a}在右边，{b}在左边"),
    "above": ("{a}在{b}的上方", "{b}的上方有{a}", "{b}上方是{a}", "上方是{a}，下方是{b}", "{a}在上方，{b}在下方"),
    "below": ("{a}在{b}的下方", "{b}的下方有{a}", "{b}下方是{a}", "下方是{a}，上方是{b}", "{a}在下方，{b}在上方"),
    "on top of": ("{a}在{b}上面", "{b}上面有{a}", "{a}放在{b}上面", "{a}站在{b}上", "{b}顶上是{a}"),
    "inside": ("{a}在{b}里面", "{b}里面有{a}", "{b}里有{a}", "{a}在{b}之内", "{b}中间有{a}"),
    "behind": ("{a}在{b}后面", "{b}后面有{a}", "{b}的后面是{a}", "{b}在{a}前面", "{a}躲在{b}后面"),
    "riding": ("{a}骑着{b}", "{a}骑在{b}上", "{b}上面骑着{a}", "{a}正骑着{b}", "骑着{b}的是{a}"),
    "walking": ("{a}遛着{b}", "{a}在遛{b}", "{a}牵着{b}", "{a}用绳子牵着{b}", "{b}被{a}牵着"),
    "drinking": ("{a}在喝{b}", "{a}喝着{b}", "{a}正在喝{b}", "{a}用吸管喝{b}", "喝{b}的是{a}"),
    "making": ("{a}在做{b}", "{a}做着{b}", "{a}正在冲{b}", "{a}在泡{b}", "做{b}的是{a}"),
}
