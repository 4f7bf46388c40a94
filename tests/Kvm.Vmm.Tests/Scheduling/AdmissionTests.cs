using Kvm.Sched;
using Kvm.Vmm.Scheduling;

namespace Kvm.Vmm.Tests.Scheduling;

public sealed class AdmissionTests
{
    private sealed record Guest(int Number);

    [Fact]
    public void What_fits_is_admitted_and_what_never_can_is_refused_with_the_reason()
    {
        var queue = new AdmissionQueue<Guest>(new AdmissionLimits(1 << 30, 4));

        queue.Ask(new Guest(1), Job(512, 2), mayWait: false, out _).Should().Be(AdmissionAnswer.Admitted);
        queue.Ask(new Guest(2), Job(2048, 1), mayWait: true, out string why).Should().Be(AdmissionAnswer.Refused);

        why.Should().Be("it asks for 2048 MiB and 1 vCPUs, and all guests together may have 1024 MiB and 4 vCPUs");
    }

    [Fact]
    public void What_does_not_fit_now_waits_or_is_refused_as_it_asked()
    {
        var queue = new AdmissionQueue<Guest>(new AdmissionLimits(1 << 30, 4));
        var first = new Guest(1);
        queue.Ask(first, Job(800, 1), false, out _);

        queue.Ask(new Guest(2), Job(800, 1), mayWait: false, out string why).Should().Be(AdmissionAnswer.Refused);
        why.Should().Contain("800 MiB and 1 vCPUs of 1024 MiB and 4 vCPUs are promised");
        var second = new Guest(3);
        queue.Ask(second, Job(800, 1), mayWait: true, out _).Should().Be(AdmissionAnswer.Queued);
        queue.Next().Should().BeNull();

        queue.Leave(first);
        queue.Next().Should().Be(second);
        queue.Vcpus.Should().Be(1);
    }

    [Fact]
    public void A_small_guest_does_not_go_before_a_large_one_that_waits()
    {
        var queue = new AdmissionQueue<Guest>(new AdmissionLimits(1 << 30, 4));
        queue.Ask(new Guest(1), Job(800, 1), false, out _);
        queue.Ask(new Guest(2), Job(900, 1), true, out _);

        queue.Ask(new Guest(3), Job(10, 1), mayWait: false, out string why).Should().Be(AdmissionAnswer.Refused);

        why.Should().Be("1 guests wait before it");
    }

    [Fact]
    public void Whoever_gives_up_waiting_is_forgotten()
    {
        var queue = new AdmissionQueue<Guest>(new AdmissionLimits(1 << 30, 4));
        Guest first = new(1), second = new(2), third = new(3);
        queue.Ask(first, Job(1000, 1), false, out _);
        queue.Ask(second, Job(1000, 1), true, out _);
        queue.Ask(third, Job(1000, 1), true, out _);

        queue.Leave(second);
        queue.Leave(first);

        queue.Next().Should().Be(third);
        queue.Waiting.Should().Be(0);
    }

    [Fact]
    public void A_hundred_thousand_wait_and_are_admitted_in_their_order()
    {
        var queue = new AdmissionQueue<Guest>(new AdmissionLimits(1 << 30, 4));
        var guests = Enumerable.Range(0, 100_000).Select(i => new Guest(i)).ToArray();
        foreach (var guest in guests)
            queue.Ask(guest, Job(1024, 1), mayWait: true, out _);
        queue.Waiting.Should().Be(99_999);

        // From the middle first: giving up takes no walk.
        for (int i = 50_000; i < 60_000; i++)
            queue.Leave(guests[i]);
        for (int i = 0; i < 1000; i++)
        {
            queue.Leave(guests[i]);
            queue.Next().Should().BeSameAs(guests[i + 1]);
        }
    }

    private static JobSpec Job(int mib, int vcpus) => new() { Vcpus = vcpus, Needs = new ResourceVector(0, (double)mib * (1 << 20)) };
}
