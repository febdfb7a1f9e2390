"""A chat template for models that have none."""

TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message.role == 'user' or message.role == 'tool' %}User: "
    "{% elif message.role == 'assistant' %}Assistant: {% endif %}"
    "{{ message.content }}\n"
    "{% endfor %}Assistant:"
)
STOP = "\nUser:"
WARNING = (
    "This model has no chat template: plain User:/Assistant: text is used, which it may not have "
    "been trained for."
)
