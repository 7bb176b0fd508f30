"""The turns of phrase of the free-form Chinese captions (`chinese_free.py`).

{} is the sentence so far; {a}, {b} ... are the noun phrases of the parts, {A}, {B} ... the same without a number;
{q} is the number of the first, {W} what it wears, {M} it without its clothes and {n} it without its number.
"""

from __future__ import annotations

from pinxit.world.chinese_templates import CHAINED
from pinxit.world.chinese_templates import RELATED as PLAIN
from pinxit.world.scene import RelationName

# After 在: "在草地上有一只猫", "草地上的猫".
PLACES: dict[str, tuple[str, ...]] = {
    "meadow": ("草地上", "田野上", "田野里", "绿色的草地上"),
    "beach": ("沙滩上", "海滩上", "海边", "海边的沙滩上"),
    "snow": ("雪地里", "雪地上", "白雪覆盖的地上"),
    "night sky": ("夜空下", "星空下", "夜晚的星空下"),
    "mountains": ("山里", "山上", "山中", "群山前"),
    "desert": ("沙漠里", "沙漠中", "沙漠上"),
    "room": ("房间里", "屋里", "室内"),
    "snowy forest": ("下雪的森林里", "飘雪的森林里", "冬天的森林里", "积雪的树林里"),
}
BESIDE = {"meadow": ("草地",)}  # said before 的 only: 在草地的水豚
PLACED = ("在{p}，{x}", "{p}，{x}", "在{p}有{x}", "{p}有{x}", "{x}，在{p}", "{x}在{p}")
PLACED_CLAUSE = ("在{p}，{x}", "{p}，{x}", "{x}，在{p}")
LIVELY = ("坐", "站", "躲")  # what only creatures do: templates with these are for them
GROUNDS = ("{x}，{c}背景", "{x}，{c}背景", "{c}背景，{x}", "{x}，背景是{c}的", "{x}，背景为{c}")
GROUND_OF = ("{c}背景上的{x}", "{c}背景前的{x}", "{x}在{c}背景上", "{c}背景上有{x}")
LIT = {
    "sunrise": ("日出时", "清晨阳光下", "朝阳下", "晨光中"),
    "rain": ("雨中", "下雨天", "雨天里", "下雨时"),
    "snowfall": ("飘雪中", "下雪天", "雪天里", "下雪时"),
}
POSED = ("坐在", "站在")
INTRO = ("图中有{}", "画面上是{}", "这是{}", "图片里有{}")
INTRO_SEVERAL = ("图中有{}", "画面上是{}", "这里有{}", "图片里有{}")
INTRO_CLAUSE = ("图中{}", "画面上{}", "图片里{}", "图片：{}")
INTRO_OF = ("一张{}的图片", "{}的图片", "一张{}的图")
PHOTO_OF = ("{}的照片", "一张{}的照片")
PHOTO = ("照片：{}", "照片里有{}", "照片上是{}")
PHOTO_CLAUSE = ("照片：{}", "照片里{}", "{}，照片")
# Those that end in 的 and a noun, or begin so, want a sentence without a comma; 一张 and 一幅 one without a number.
STYLED = {
    "pencil sketch": (
        *("{}的铅笔素描", "{}的素描", "用铅笔画的{}", "一张{}的素描", "铅笔画的{}", "一幅{}的铅笔画", "{}的铅笔画"),
        *("{}，铅笔画", "{}，素描", "铅笔画：{}", "素描：{}"),
    ),
    "watercolour": (
        *("{}的水彩画", "用水彩画的{}", "水彩风格的{}", "{}的绘画", "{}的绘画像", "一幅{}的绘画像", "一幅{}的水彩画"),
        *("水彩画：{}", "{}，水彩画", "绘画：{}", "{}，绘画"),
    ),
    "pixel art": (
        *("{}的像素画", "像素风格的{}", "用像素画的{}", "一幅{}的像素画"),
        *("像素画：{}", "{}，像素画", "{}，像素风格"),
    ),
    "silhouette": ("{}的剪影", "{}的黑色剪影", "只有黑色轮廓的{}", "一张{}的剪影图", "剪影：{}", "{}，黑色剪影"),
    "blueprint": ("{}的蓝图", "画在蓝图上的{}", "蓝底白线的{}", "一张{}的蓝图", "蓝图：{}", "{}，蓝图"),
    "neon": ("{}的霓虹灯", "霓虹灯做成的{}", "霓虹风格的{}", "霓虹灯：{}", "{}，霓虹灯风格"),
    "old photograph": (
        *("{}的老照片", "一张{}的老照片", "一张{}的旧照片", "旧照片里的{}", "一张{}的泛黄照片"),
        *("老照片：{}", "泛黄的照片里有{}", "{}，老照片"),
    ),
    "folded from paper": (
        *("用纸折成的{}", "{}的折纸", "折纸做的{}", "用纸折的{}"),
        *("折纸：{}", "折纸作品：{}", "折纸作品：{}", "{}，折纸作品"),
    ),
}
VIEWED = {
    "close-up": ("{}的特写", "近距离看{}", "特写图下{}", "{}的特写图", "一张{}的特写", "特写：{}", "{}，特写"),
    "from afar": ("远处的{}", "从远处看{}", "远远的{}", "{}的远景", "远景：{}", "{}，远景"),
    "upside down": ("{q}倒过来的{n}", "{q}上下颠倒的{n}", "{q}倒立的{n}", "{q}倒着的{n}"),
    "fisheye": (
        *("鱼眼透视下的{}", "鱼眼镜头里的{}", "透过鱼眼镜头看{}", "{}的鱼眼照片", "鱼眼视角下的{}"),
        "鱼眼镜头：{}",
    ),
    "cross-section": (
        *("{n}横截面图", "{n}的横截面", "{n}的横截面图", "{n}的剖面图", "{q}切开的{n}", "{q}切成两半的{n}"),
        *("切开的{n}", "{n}的内部", "{a}切成两半"),
    ),
}
PAIR = (
    "上面是{a}，下面是它的{s}",
    "上面是{a}，下面是它的{s}",
    "上面是{a}，下面是同样的{n}的{s}",
    "{a}，下方是它的{s}",
    "上方是{a}，下方是它的{s}",
    "{a}在上面，同样的{n}的{s}在下面",
    "上半部分是{a}，下半部分是它的{s}",
)
LOWER = {
    "pencil sketch": ("素描", "素描", "铅笔素描", "铅笔画"),
    "watercolour": ("水彩", "水彩画", "绘画"),
    "pixel art": ("像素画", "像素图"),
    "silhouette": ("剪影", "黑色剪影"),
    "blueprint": ("蓝图", "蓝图线稿"),
    "neon": ("霓虹灯", "霓虹灯图案"),
    "old photograph": ("老照片", "旧照片"),
    "folded from paper": ("折纸", "折纸作品"),
}
AND = ("{a}和{b}", "{b}和{a}", "{a}与{b}", "{a}和{b}在一起", "{a}以及{b}")
WRITTEN = (
    *("{q}写着{w}的{n}", "写着{w}的{n}", "{a}，上面写着{w}", "{a}上写着{w}", "{a}上有{w}这个词"),
    *("{q}带有{w}字样的{n}", "{q}上面写着{w}的{n}"),
)
MATERIAL = ("用{}做的", "{}做的", "{}做成的", "{}状的", "{}状的", "用{}做成的", "由{}组成的")
FORMED = ("{}形状的", "{}形状的", "{}状的", "像{}的", "{}造型的", "长得像{}的", "{}形的")
FORM_WORDS = {"square": ("方形", "正方形"), "circle": ("圆形",), "star": ("星形", "五角星形")}
GARMENT_WORDS = {"trousers": ("裤子", "长裤"), "shirt": ("衬衫", "衬衣"), "tutu": ("芭蕾舞裙", "芭蕾裙")}
SAME_NAME = (
    "一堆{p}，{A}在{B}的顶部，{B}在中间，{C}在底部",
    "一堆{p}，{A}在顶部，{B}在中间，{C}在底部",
    "三个叠在一起的{p}，{x}在上，{y}在中间，{z}在下",
    "一摞{p}，上面是{x}，中间是{y}，下面是{z}",
    "{A}在{B}上面，{B}在{C}上面",
    "从上到下是{a}、{b}和{c}",
    "三个{p}叠在一起，从上到下是{x}、{y}和{z}",
    "{C}上的{B}上的{A}",
    "{C}上的{B}上的{A}",
)
STACKED = (
    "{A}在{B}上面，{B}在{C}上面",
    "从上到下是{a}、{b}和{c}",
    "{a}、{b}和{c}从上到下叠在一起",
    "上面是{a}，中间是{b}，下面是{c}",
    "{c}上面有{b}，再上面有{a}",
    "{C}上的{B}上的{A}",
    "{A}在{B}的顶部，{B}在中间，{C}在底部",
)
TWO_RIDING = CHAINED["riding", "left of", "riding"]
RELATED: dict[RelationName, tuple[str, ...]] = {
    "left of": (*PLAIN["left of"], "{b}在{a}的右边", "{A}在{B}的左边"),
    "right of": (*PLAIN["right of"], "{b}在{a}的左边", "{A}在{B}的右边"),
    "above": (*PLAIN["above"], "{b}在{a}的下方", "{A}在{B}的上方"),
    "below": (*PLAIN["below"], "{b}在{a}的上方", "{A}在{B}的下方"),
    "on top of": (*PLAIN["on top of"], "{A}放在{B}上面", "{a}坐在{b}上", "{a}在{b}的顶部", "{B}上的{A}"),
    "inside": (*PLAIN["inside"], "{B}里的{A}"),
    "behind": (*PLAIN["behind"], "{B}后面的{A}"),
    "riding": (
        *("{a}骑着{b}", "{a}骑在{b}上", "{b}上面骑着{a}", "{a}正骑着{b}", "{A}骑{B}", "{a}骑{B}"),
        *("{q}{W}骑{B}的{M}", "{W}骑{B}的{M}", "{q}{W}骑着{B}的{M}"),
    ),
    "walking": (
        *("{a}遛着{b}", "{a}在遛{B}", "{a}牵着{b}", "{a}用绳子牵着{b}", "{b}被{a}牵着", "{A}遛{B}"),
        *("{q}{W}遛{B}的{M}", "{W}遛{B}的{M}", "{q}{W}牵着{B}的{M}"),
    ),
    "drinking": (
        *("{a}在喝{B}", "{a}喝着{b}", "{a}正在喝{b}", "{a}用吸管喝{B}", "{A}喝{B}"),
        *("{q}{W}喝{B}的{M}", "{W}喝{B}的{M}", "{q}{W}喝着{B}的{M}"),
    ),
    "making": (
        *("{a}在做{B}", "{a}在做{b}", "{a}正在冲{b}", "{a}在泡{B}", "{A}做{B}", "{a}做着{b}"),
        *("{q}{W}做{B}的{M}", "{W}做{B}的{M}"),
    ),
}
WHERE: dict[tuple[str, str], tuple[str, ...]] = {
    ("left", "top"): ("左上方",),
    ("right", "top"): ("右上方",),
    ("left", "bottom"): ("左下方",),
    ("right", "bottom"): ("右下方",),
    ("left", "middle"): ("左边", "左侧"),
    ("right", "middle"): ("右边", "右侧"),
    ("left", ""): ("左边", "左侧"),
    ("right", ""): ("右边", "右侧"),
    ("middle", "top"): ("上方", "上方中间"),
    ("middle", "bottom"): ("下方", "下方中间"),
    ("", "top"): ("上方", "上部"),
    ("", "bottom"): ("下方", "下部"),
    ("middle", "middle"): ("中间", "正中间", "中央"),
}
CORNER = {
    ("left", "top"): ("左上角",),
    ("right", "top"): ("右上角",),
    ("left", "bottom"): ("左下角",),
    ("right", "bottom"): ("右下角",),
}
LIES = ("{at}有{x}", "{x}在{at}", "画面{at}有{x}", "{x}位于画面{at}", "画面{at}是{x}")
LIES_OF = ("画面{at}的{x}", "{at}的{x}")  # where a picture's style or view is to be mentioned
LIES_CLAUSE = ("{x}，在画面{at}", "{x}，位于画面{at}", "画面{at}，{x}")
LIE_BOTH = ("{p}是{a}，{q}是{b}", "{p}有{a}，{q}有{b}", "{a}在{p}，{b}在{q}")
