"""What is mistaken for what: neighbours on a keyboard, look-alikes, and words that sound alike."""

KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
OFFSETS = (0.0, 0.25, 0.75)
"""How far each row of keys is moved to the right."""


def _neighbours() -> dict[str, str]:
    places = {
        letter: (column + OFFSETS[row], row)
        for row, letters in enumerate(KEYS)
        for column, letter in enumerate(letters)
    }
    return {
        letter: "".join(
            other
            for other, (across, down) in places.items()
            if other != letter and abs(across - x) <= 1 and abs(down - y) <= 1
        )
        for letter, (x, y) in places.items()
    }


NEIGHBOURS = _neighbours()
"""A letter -> those whose keys touch its own."""

LOOK_ALIKES: dict[str, str] = {
    "m": "rn",
    "w": "vv",
    "d": "cl",
    "l": "1",
    "I": "l",
    "O": "0",
    "o": "0",
    "S": "5",
    "s": "5",
    "B": "8",
    "Z": "2",
    "z": "2",
    "g": "9",
    "q": "9",
    "e": "c",
    "c": "e",
    "u": "v",
    "v": "u",
    "h": "b",
    "b": "h",
    "i": "l",
    "t": "f",
    "f": "t",
    "n": "ri",
    "E": "F",
    "C": "G",
}
"""What a scanner reads instead."""

_SHAPES = (
    "己已巳 末未 人入八 大太犬 土士 日曰目 干千于 天夫无 王玉主 木本术 刀力 贝见 今令 午牛 未来 侯候 折拆 拔拨 辨辩 "
    "治冶 洒酒 免兔 鸟乌 往住佳 请清情晴 话活 哪那 我找 处外 问间 体休 很恨 得碍 影景 看着 没设 进近 喜善 差羞 真直 "
    "戏戎 片爿 演寅 剧居 好妤 爱受 时对 会合 说悦 电甩 这过 可司 以似 们门 里重 看春 买卖 员圆"
)
SHAPES: dict[str, str] = {}
"""A Chinese character -> those that look like it."""
for _group in _SHAPES.split():
    for _letter in _group:
        SHAPES[_letter] = SHAPES.get(_letter, "") + _group.replace(_letter, "")

_SOUNDS = (
    "的地得 在再 他她它 做作坐座 已以意亿 那哪 是事市式 有又友 时十实 和合河 这者 里理李力 到道 都督 对队 现线 "
    "看刊 想响 见件建间 觉决 应影映英 电店点 剧句具 情清晴轻 好号 过国 长常场 真珍针 美每 生声升 心新 明名 "
    "气汽器 工公功 家加佳 会汇 爱碍 笑校 听厅 买卖麦 员圆原园 片骗 喜洗 戏细系 演眼烟言 导倒 棒帮 差插 烂蓝 快块 慢漫"
)
CHINESE_SOUNDS: dict[str, str] = {}
"""A Chinese character -> those that are typed by about the same syllable."""
for _group in _SOUNDS.split():
    for _letter in _group:
        CHINESE_SOUNDS[_letter] = CHINESE_SOUNDS.get(_letter, "") + _group.replace(_letter, "")

_HOMOPHONES = (
    "their/there/they're to/too/two your/you're its/it's than/then here/hear where/wear/ware who's/whose by/buy/bye "
    "for/four/fore one/won see/sea be/bee know/no new/knew right/write/rite wood/would weather/whether piece/peace "
    "plain/plane role/roll scene/seen story/storey tale/tail great/grate week/weak way/weigh whole/hole made/maid "
    "main/mane male/mail meet/meat pair/pear/pare past/passed principal/principle quiet/quite road/rode sail/sale "
    "son/sun some/sum steal/steel stair/stare their/there through/threw time/thyme wait/weight war/wore waste/waist "
    "affect/effect accept/except aloud/allowed bare/bear board/bored brake/break cast/caste cell/sell cent/sent/scent "
    "course/coarse dear/deer die/dye fair/fare feat/feet flour/flower heal/heel hour/our idle/idol knight/night "
    "lead/led lessen/lesson loose/lose minor/miner moral/morale muscle/mussel pause/paws pole/poll poor/pour "
    "rain/reign real/reel red/read root/route sight/site/cite sole/soul stake/steak straight/strait sweet/suite "
    "thrown/throne vain/vein which/witch"
)
HOMOPHONES: dict[str, tuple[str, ...]] = {}
"""An English word -> words that sound alike."""
for _group in _HOMOPHONES.split():
    _known = _group.split("/")
    for _word in _known:
        HOMOPHONES[_word] = tuple(dict.fromkeys([*HOMOPHONES.get(_word, ()), *(one for one in _known if one != _word)]))

WIDTHS = {",": "\uff0c", ".": "\u3002", "!": "\uff01", "?": "\uff1f", ":": "\uff1a", ";": "\uff1b"}
"""Western marks -> Chinese ones."""
