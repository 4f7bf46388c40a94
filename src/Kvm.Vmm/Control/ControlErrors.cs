namespace Kvm.Vmm.Control;

/// <summary>The errors of talking to running guests, KVM0306–KVM0309 (exit code 1).</summary>
public static class ControlErrors
{
    /// <summary>Nobody answers at the guest's socket.</summary>
    public static readonly ErrorInfo NoGuest = new("KVM0306", "no running guest answers by that name",
        "It has ended, belongs to another user, was started without --name, or another guest had the name first.",
        "See which guests can be asked: kvmsharp stats; start one: kvmsharp run KERNEL --name NAME");

    /// <summary>The guest does not do what it was asked.</summary>
    public static readonly ErrorInfo Refused = new("KVM0307", "the running guest did not do what was asked",
        "It is in a state in which it cannot, or the host did not let it.",
        "See how it is: kvmsharp inspect NAME");

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [NoGuest, Refused];
}
