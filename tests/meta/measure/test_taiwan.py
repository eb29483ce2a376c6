"""Chinese as Taiwan writes it: what OpenCC tells, and that what Taiwan writes is left alone."""

import pytest

from fixtures.catalog.load import PROMPTS
from fixtures.measure.taiwan import first_simplified, mainland_words
from fixtures.models.twins.scripts import shipped_scripts

SIMPLIFIED = "国体为这来时会学说对发经过还没样开无东车书长门问马鸟鱼龙飞云头电话机气万与产业专丝两严丧个丰临丽举义乌乐乔习乡买乱争于亏"
BOTH = "云丰于万后里面只台干谷志几才斗准"  # simplified forms that are good Traditional characters of their own

TAIWANESE = [
    "臺灣與台灣、臺北與台北，群山之間，屋裡屋外，面對公里之外的海。",
    "看着夕陽，老么和么妹在客庄曬衣也晒衣，虱目魚配佳肴，麵包發霉了。",
    "他手頭拮据，胜肽面膜卻買了兩盒；帶狀疱疹請看皮膚科。",
    "皇后、太后、後天、雲端、人云亦云、干涉、乾淨、樹幹、標準、不准、茶几、幾乎、北斗、鬥牛。",
    "醫師說：吃藥後請多休息，床邊有秘書留下的字條，峰頂的癡心人也該回家了。",
    "卟啉、吡啶、砼、啉、膦是化學用字，不是簡體字。",
    "𠮷野家的𨋢與㗎是罕用字。",
]


@pytest.mark.parametrize("character", [char for char in SIMPLIFIED if char not in BOTH])
def test_simplified_characters_are_known(character):
    assert first_simplified(character) == 0


@pytest.mark.parametrize("character", BOTH + "群裡臺着秘床峰溫衛為一ぁ가A。😀\ud800")
def test_other_characters_are_left_alone(character):
    assert first_simplified(character) is None


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("你要什么", 3),
        ("根据紀錄", 1),
        ("他很胜任", 2),
        ("價格為价", 3),
        ("適合与否", 2),
        ("一种東西", 1),
        ("合并", 1),
        ("𫚉魚", 0),
        ("蘋果苹果", 2),
    ],
)
def test_a_simplified_character_among_others_is_found_with_its_place(text, position):
    assert first_simplified(text) == position


@pytest.mark.parametrize("text", TAIWANESE)
def test_what_taiwan_writes_is_no_fault(text):
    assert first_simplified(text) is None
    assert mainland_words(text) == {}


def test_the_suites_own_chinese_is_clean():
    """Prompts are what answers repeat; a false alarm in one would be one in each answer."""
    texts = {file.name: file.read_text("utf-8") for file in (*PROMPTS.rglob("*.toml"), *PROMPTS.rglob("*.txt"))}
    texts |= {script.id: script.answer for script in shipped_scripts()}
    assert len(texts) > 15
    assert {name: text[at - 5 : at + 5] for name, text in texts.items() if (at := first_simplified(text)) is not None} == {}
    assert {name: words for name, text in texts.items() if (words := mainland_words(text))} == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("軟件的質量很好，信息也多。", {"軟件": "軟體", "質量": "品質", "信息": "資訊"}),
        ("大數據與數據機都是臺灣用語，數據不是。", {"數據": "資料"}),
        ("質量守恆定律；電視頻道；海內存知己。", {}),
        ("服務器的內存不夠，鼠標也壞了。", {"服務器": "伺服器", "內存": "記憶體", "鼠標": "滑鼠"}),
        ("檔案、專案、程序、用戶、文件、項目、參數：臺灣都用。", {}),
        ("", {}),
    ],
)
def test_mainland_words_are_told_with_what_taiwan_says(text, words):
    assert mainland_words(text) == words
