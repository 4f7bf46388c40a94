using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Bare;

/// <summary>The engines a bare machine can run on.</summary>
internal static class BareEngines
{
    /// <summary>True if /dev/kvm opens for us.</summary>
    public static bool KvmOpens
    {
        get
        {
            try
            {
                EngineSelector.OpenKvm().Dispose();
                return true;
            }
            catch (VmmException)
            {
                return false;
            }
        }
    }

    /// <summary>Makes a machine.</summary>
    /// <param name="name"><c>kvm</c>; anything else is the software engine.</param>
    /// <param name="options">What it is made of.</param>
    /// <param name="board">What is around it.</param>
    /// <exception cref="VmmException">There is no /dev/kvm for us, or KVM refused a step.</exception>
    public static IBareEngine Create(string name, BareOptions options, IBareBoard board)
    {
        try
        {
            return name == "kvm" ? new BareKvm(options, board) : new BareSoft(options, board);
        }
        catch (Interop.KvmException e)
        {
            throw new VmmException(HostErrors.KvmRefused, e.Message, e);
        }
    }
}
