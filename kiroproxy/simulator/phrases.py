"""What the demo says, in English and Chinese.

Rules of this file: text only. Each answer says, sooner or later, that no model is behind it.
"""

from typing import Final, Literal

Language = Literal["en", "zh"]

GREETING: Final = {
    "en": "Hello! 👋 You are talking to **kiroproxy's built-in simulator**: no account, no model, "
    "and nothing leaves this machine. The road is real, though: every word here was packed into "
    "Kiro's binary frames, checksummed, sent through the gateway, translated, and streamed to "
    "you piece by piece.",
    "zh": "你好！👋 你正在和 **kiroproxy 内置的模拟器** 对话：没有账号，没有模型，"
    "任何内容都不会离开这台机器。不过路是真的：这里的每个字都装进了 Kiro 的二进制帧，"
    "算过校验和，穿过网关，翻译之后一小块一小块地流到你面前。",
}
REAL_ONE: Final = {
    "en": "To talk to a real model, stop the demo, put your Kiro credentials into "
    "`credentials.json`, and start `kiroproxy`. `kiroproxy check` tells you whether they are in "
    "order.",
    "zh": "想和真正的模型对话：停掉演示，把你的 Kiro 凭据写进 `credentials.json`，"
    "然后启动 `kiroproxy`。`kiroproxy check` 会告诉你凭据是否可用。",
}
BEFORE_TOOL: Final = {
    "en": "Let me make one harmless tool call, to show that those work too.",
    "zh": "我来做一次无害的工具调用，证明这个也能用。",
}
BEFORE_SEARCH: Final = {
    "en": "Let me search the web for that.",
    "zh": "我来搜索一下。",
}
AFTER_TOOL: Final = {
    "en": "It worked: your client ran the tool and sent this back:\n\n{quote}\n\nThat was the "
    "whole loop: question, tool call, tool result, answer. ✨",
    "zh": "成功了！你的客户端执行了工具，并把结果送了回来：\n\n{quote}\n\n"
    "这就是完整的一圈：提问、工具调用、工具结果、回答。✨",
}
TOOL_FAILED: Final = {
    "en": "The tool was not run, or it failed; your client sent this back:\n\n{quote}\n\nThat is "
    "fine: the call and its answer both arrived where they should.",
    "zh": "工具没有执行，或者执行失败了；你的客户端送回了：\n\n{quote}\n\n"
    "没关系：调用和回应都准确到达了该去的地方。",
}
WHO: Final = {
    "en": "I am the simulator that ships with kiroproxy. I know about two dozen sentences, which "
    "is less than any model knows, but I never make anything up. 🙂",
    "zh": "我是随 kiroproxy 一起发布的模拟器。我大约只会二十来句话，比任何模型都少，"
    "但我从不胡编乱造。🙂",
}
THANKS: Final = {
    "en": "You are welcome! Simulators rarely hear that. 🙂",
    "zh": "不客气！模拟器很少听到这句话。🙂",
}
COUNT: Final = {
    "en": "Here you go: {numbers}. Did you see them arrive one by one?",
    "zh": "来了：{numbers}。看到它们一个一个到达了吗？",
}
SUM: Final = {
    "en": "{sum} = {result}. That is about as far as a simulator's arithmetic goes.",
    "zh": "{sum} = {result}。模拟器的算术也就到此为止了。",
}
ANYTHING: Final = {
    "en": "You wrote: “{words}”\n\nA model would have something to say about that; I am only "
    "kiroproxy's built-in simulator, so I enjoyed reading it and streamed you this answer, word "
    "by word.",
    "zh": "你写的是：“{words}”\n\n真正的模型会对此有话可说；我只是 kiroproxy 内置的模拟器，"
    "所以我欣赏了一遍，然后把这段回答一点一点地流给你。",
}
THOUGHT: Final = {
    "en": "The user wrote to the simulator. I have no thoughts of my own, but this is where a "
    "model's would appear, streamed and signed. Now for a friendly answer.",
    "zh": "用户在给模拟器写信。我没有自己的思想，但模型的思考会出现在这里：流式传输，并且带签名。"
    "现在给出一个友好的回答。",
}
TITLE: Final = {"en": "Trying out kiroproxy", "zh": "试用 kiroproxy"}
COMMAND: Final = {
    "en": ("echo 'Hello from kiroproxy!'", "Say hello"),
    "zh": ("echo '你好，我是 kiroproxy！'", "打个招呼"),
}
