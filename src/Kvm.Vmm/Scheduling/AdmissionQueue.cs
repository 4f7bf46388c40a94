using System.Globalization;
using Kvm.Sched;

namespace Kvm.Vmm.Scheduling;

/// <summary>What guests may be promised together.</summary>
/// <param name="Memory">Bytes.</param>
/// <param name="Vcpus">vCPUs.</param>
public readonly record struct AdmissionLimits(double Memory, int Vcpus);

/// <summary>What became of a VM that asked to be admitted.</summary>
public enum AdmissionAnswer
{
    /// <summary>It is in.</summary>
    Admitted,

    /// <summary>It waits for its turn.</summary>
    Queued,

    /// <summary>It is not let in.</summary>
    Refused,
}

/// <summary>
/// The job queue in front of a scheduler: memory and vCPUs are promised, never more than the limits. Who waits is admitted in the order of
/// asking: a small VM does not go before a large one, which would else wait for ever. Not thread-safe. Every operation takes the same
/// time however many wait.
/// </summary>
/// <typeparam name="T">What stands for a VM.</typeparam>
public sealed class AdmissionQueue<T>
    where T : class
{
    /// <summary>So many may wait; who comes then is refused.</summary>
    public const int MostWaiting = 100_000;

    private readonly LinkedList<T> _waiting = new();
    private readonly Dictionary<T, LinkedListNode<T>> _nodes = [];
    private readonly Dictionary<T, (double Memory, int Vcpus)> _known = [];

    /// <summary>Makes an empty queue.</summary>
    public AdmissionQueue(AdmissionLimits limits) => Limits = limits;

    /// <summary>What may be promised.</summary>
    public AdmissionLimits Limits { get; }

    /// <summary>Memory promised, in bytes.</summary>
    public double Memory { get; private set; }

    /// <summary>vCPUs promised.</summary>
    public int Vcpus { get; private set; }

    /// <summary>How many wait.</summary>
    public int Waiting => _waiting.Count;

    /// <summary>Who waits, the next one first.</summary>
    public IEnumerable<T> Queue => _waiting;

    /// <summary>A VM asks.</summary>
    /// <param name="vm">What stands for it; not known yet.</param>
    /// <param name="job">Its vCPUs, and its memory among its needs.</param>
    /// <param name="mayWait">Whether it wants to wait where there is no room now.</param>
    /// <param name="why">The reason where it is not admitted at once; else empty.</param>
    public AdmissionAnswer Ask(T vm, in JobSpec job, bool mayWait, out string why)
    {
        var wish = (job.Needs.Memory, job.Vcpus);
        why = "";
        if (wish.Memory > Limits.Memory || wish.Vcpus > Limits.Vcpus)
        {
            why = $"it asks for {Words(wish)}, and all guests together may have {Words((Limits.Memory, Limits.Vcpus))}";
            return AdmissionAnswer.Refused;
        }

        if (_waiting.Count == 0 && Fits(wish))
        {
            _known[vm] = wish;
            Promise(wish, 1);
            return AdmissionAnswer.Admitted;
        }

        why = WhyNot(wish, _waiting.Count);
        if (!mayWait)
            return AdmissionAnswer.Refused;
        if (_waiting.Count == MostWaiting)
        {
            why = string.Create(CultureInfo.InvariantCulture, $"{MostWaiting} guests wait already");
            return AdmissionAnswer.Refused;
        }

        _known[vm] = wish;
        _nodes[vm] = _waiting.AddLast(vm);
        return AdmissionAnswer.Queued;
    }

    /// <summary>Why a VM that waits has to, in words.</summary>
    /// <param name="vm">One that waits.</param>
    /// <param name="before">How many wait before it.</param>
    public string WhyWaiting(T vm, int before) => WhyNot(_known[vm], before);

    /// <summary>A VM has ended or given up.</summary>
    public void Leave(T vm)
    {
        if (!_known.Remove(vm, out var wish))
            return;
        if (_nodes.Remove(vm, out var node))
            _waiting.Remove(node);
        else
            Promise(wish, -1);
    }

    /// <summary>The next of those that wait for which there is room now, admitted; or null. Called until it is null.</summary>
    public T? Next()
    {
        if (_waiting.First is not { } first || !Fits(_known[first.Value]))
            return null;
        _waiting.RemoveFirst();
        _nodes.Remove(first.Value);
        Promise(_known[first.Value], 1);
        return first.Value;
    }

    private string WhyNot((double Memory, int Vcpus) wish, int before) => before > 0 && Fits(wish)
        ? string.Create(CultureInfo.InvariantCulture, $"{before} guests wait before it")
        : $"it asks for {Words(wish)}; {Words((Memory, Vcpus))} of {Words((Limits.Memory, Limits.Vcpus))} are promised";

    private bool Fits((double Memory, int Vcpus) wish) => wish.Memory <= Limits.Memory - Memory && wish.Vcpus <= Limits.Vcpus - Vcpus;

    private void Promise((double Memory, int Vcpus) wish, int times)
    {
        Memory += times * wish.Memory;
        Vcpus += times * wish.Vcpus;
    }

    private static string Words((double Memory, int Vcpus) amount) =>
        string.Create(CultureInfo.InvariantCulture, $"{amount.Memory / (1 << 20):0} MiB and {amount.Vcpus} vCPUs");
}
