using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Tests.Virtio;

public sealed class PollWindowTests
{
    [Fact]
    public void Nothing_is_looked_for_at_first() => default(PollWindow).Nanoseconds.Should().Be(0);

    [Fact]
    public void Short_sleeps_open_the_window_to_its_longest()
    {
        var window = new PollWindow();
        long before = 0;
        for (int i = 0; i < 10; i++)
        {
            window.Woke(PollWindow.Longest);
            window.Nanoseconds.Should().BeGreaterThanOrEqualTo(before);
            before = window.Nanoseconds;
        }

        before.Should().Be(PollWindow.Longest);
    }

    [Fact]
    public void Long_sleeps_close_it()
    {
        var window = new PollWindow();
        for (int i = 0; i < 10; i++)
            window.Woke(0);
        for (int i = 0; i < 10; i++)
            window.Woke(PollWindow.Longest + 1);
        window.Nanoseconds.Should().Be(0);
    }

    [Fact]
    public void One_long_sleep_among_short_ones_only_halves_it()
    {
        var window = new PollWindow();
        for (int i = 0; i < 10; i++)
            window.Woke(0);
        window.Woke(long.MaxValue);
        window.Nanoseconds.Should().Be(PollWindow.Longest / 2);
        window.Woke(0);
        window.Nanoseconds.Should().Be(PollWindow.Longest);
    }
}
