using System.Globalization;
using System.Text;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Scheduling.Service;

/// <summary>A guest at a scheduler's door.</summary>
/// <param name="request">What it asked for.</param>
/// <param name="token">By what its connection is known.</param>
internal sealed class Applicant(SchedulingRequest request, ulong token)
{
    public SchedulingRequest Request => request;

    public ulong Token => token;

    /// <summary>When it came.</summary>
    public long Since { get; } = HostClock.Monotonic();

    /// <summary>Its places, once it is in.</summary>
    public VmSeats? Vm { get; set; }
}

/// <summary>
/// Who is let in to a dispatcher, and who waits: the admission queue in front of it, with what happens there told. Not thread-safe. No
/// step takes longer the more wait, but for what is made for people.
/// </summary>
internal sealed class Reception(Dispatcher dispatcher, AdmissionLimits limits, Action<SchedulingEvent>? tell)
{
    /// <summary>Of those that wait, so many are listed.</summary>
    private const int MostListed = 1000;

    private const string TableFull = "the scheduler's table is full";

    private readonly AdmissionQueue<Applicant> _queue = new(limits);

    /// <summary>Those that are in or wait.</summary>
    public int Guests { get; private set; }

    /// <summary>Whether there ever was one.</summary>
    public bool HadGuests { get; private set; }

    /// <summary>How many wait.</summary>
    public int Waiting => _queue.Waiting;

    /// <summary>A guest asks; where it is admitted it has places.</summary>
    /// <param name="guest">It.</param>
    /// <param name="mayWait">Whether it wants to wait where there is no room now.</param>
    /// <param name="why">The reason where it is not in.</param>
    public AdmissionAnswer Ask(Applicant guest, bool mayWait, out string why)
    {
        var answer = _queue.Ask(guest, guest.Request.Job, mayWait, out why);
        if (answer == AdmissionAnswer.Admitted && !Seat(guest))
            (answer, why) = (AdmissionAnswer.Refused, TableFull);
        if (answer != AdmissionAnswer.Refused)
        {
            Guests++;
            HadGuests = true;
        }

        Tell(answer switch { AdmissionAnswer.Admitted => "admitted", AdmissionAnswer.Queued => "queued", _ => "refused" }, guest, why);
        return answer;
    }

    /// <summary>A guest leaves, from wherever it is.</summary>
    public void Leave(Applicant guest)
    {
        if (guest.Vm is { } vm)
            dispatcher.Leave(vm);
        _queue.Leave(guest);
        Guests--;
        Tell("left", guest, "");
    }

    /// <summary>The next of those that wait for which there is room now: it has places, or, where the table is full, has been refused. Null where there is none; called until then.</summary>
    public Applicant? Next(out string why)
    {
        why = "";
        if (_queue.Next() is not { } next)
            return null;
        if (Seat(next))
        {
            Tell("admitted", next, "");
            return next;
        }

        why = TableFull;
        Guests--;
        Tell("refused", next, why);
        return next;
    }

    /// <summary>What stands in front of the dispatcher.</summary>
    public ServiceView View() => new(_queue.Waiting, _queue.Memory, _queue.Vcpus, _queue.Limits, Environment.ProcessId, dispatcher.NoRealTime)
    {
        Queue = [.. _queue.Queue.Take(MostListed).Select(Of)],
        CpuQuota = HostCpuQuota.Limit(),
    };

    /// <summary>Why guests of a name or process wait to be let in, a line each; null where none does.</summary>
    public string? Why(string name)
    {
        var text = new StringBuilder();
        int before = 0;
        foreach (var guest in _queue.Queue)
        {
            if (guest.Request.Name == name || guest.Request.ProcessId.ToString(CultureInfo.InvariantCulture) == name)
            {
                var queued = Of(guest, before);
                text.Append(CultureInfo.InvariantCulture,
                    $"{VisibleText.Escape(queued.Name)} waits to be admitted since {queued.Waited / 1e6:0} ms, {queued.Position} of {_queue.Waiting}: {queued.Why}.\n");
            }

            before++;
        }

        return text.Length > 0 ? text.ToString() : null;
    }

    private QueuedGuest Of(Applicant guest, int before) =>
        new(guest.Request.Name, guest.Request.ProcessId, guest.Request.Job, HostClock.Monotonic() - guest.Since, before + 1, _queue.WhyWaiting(guest, before));

    private bool Seat(Applicant guest)
    {
        guest.Vm = dispatcher.Join(guest.Request);
        if (guest.Vm is null)
            _queue.Leave(guest);
        return guest.Vm is not null;
    }

    private void Tell(string kind, Applicant guest, string detail) =>
        tell?.Invoke(new SchedulingEvent(kind, VisibleText.Escape(guest.Request.Name), guest.Request.ProcessId, detail));
}
