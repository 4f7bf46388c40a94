using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Tests.Virtio;

public sealed class AnswerWindowTests
{
    [Fact]
    public void Answers_are_looked_for_at_first() => default(AnswerWindow).Nanoseconds.Should().Be(AnswerWindow.Longest);

    [Fact]
    public void Guest_that_does_not_answer_is_looked_at_rarely()
    {
        var window = new AnswerWindow();
        int looks = 0;
        for (int i = 0; i < AnswerWindow.Rarely * 10; i++)
        {
            looks += window.Nanoseconds > 0 ? 1 : 0;
            window.Saw(answer: false);
        }

        looks.Should().Be(AnswerWindow.Patience + 9);
    }

    [Fact]
    public void One_answer_opens_the_window_again()
    {
        var window = new AnswerWindow();
        for (int i = 0; i < AnswerWindow.Patience; i++)
            window.Saw(answer: false);
        window.Nanoseconds.Should().Be(0);
        window.Saw(answer: true);
        window.Nanoseconds.Should().Be(AnswerWindow.Longest);
    }
}
